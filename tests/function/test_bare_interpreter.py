"""The zip in a bare interpreter: an environment with nothing installed, and on its path the unzipped zip alone.

Both handlers run there against the embedded cloud, a real vector server and a server that speaks OpenAI's embeddings
protocol, with the environment variables that the stack sets. An emulator that runs functions with the host's Python would
hide a package that is missing.
"""

import base64
import io
import json
import subprocess
import sys
import threading
import uuid
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import yaml

from workbench.cloud.clients import client
from workbench.cloud.stack import TEMPLATE
from workbench.events import Record
from workbench.function.configuration import Configuration
from workbench.function.entities import Activity, Habit, Profile, recommendation_from_item
from workbench.function.tables import put_items
from workbench.function.variants import CATALOGUE, USERS
from workbench.process import Child
from workbench.settings import Settings
from workbench.stream.dead_letters import DeadLetters
from workbench.vectors.pinecone import PineconeStore

from .world import NOON, HashEmbedder, batch, event, product

KEY = "sesame"
PRODUCTS = [product(f"p{number}", number / 40) for number in range(40)]
SETTINGS = Settings(candidates=40, popularity_weight=0.5, habit_weight=3.0, half_life=1.0)
HABITS = (Habit(PRODUCTS[9], 2.0),)
FORBIDDEN = ("torch", "faiss", "pandas", "IPython", "matplotlib", "sentence_transformers", "pyarrow", "tqdm")

# Run by the bare interpreter: argv is the folder, the handler's module, and on stdin are the events. Prints the answers.
RUNNER = """
import importlib, json, sys
folder, handler, forbidden = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
sys.path.insert(0, folder)
for name in forbidden:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        pass
    else:
        raise SystemExit(f"{name} can be imported: the interpreter is not bare")
handler = importlib.import_module(handler).handler
answers = [handler(event, None) for event in json.load(sys.stdin)]
foreign = [m for m in sys.modules if m.partition(".")[0] in forbidden]
origins = sorted({m.__file__ for m in list(sys.modules.values()) if getattr(m, "__file__", None)})
json.dump({"answers": answers, "foreign": foreign, "origins": origins, "path": sys.path}, sys.stdout)
"""


class OpenAI(BaseHTTPRequestHandler):
    """POST /v1/embeddings as OpenAI answers it, base64 of little-endian float32."""

    protocol_version = "HTTP/1.1"
    embedder = HashEmbedder()

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = self.headers["Authorization"] == f"Bearer {KEY}" and self.path == "/v1/embeddings"
        vectors = self.embedder.embed(asked["input"])
        data = [{"index": n, "embedding": base64.b64encode(row.tobytes()).decode()} for n, row in enumerate(vectors)]
        body = json.dumps({"data": data, "model": asked["model"]} if allowed else {"error": {"message": "no"}}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def embeddings_url():
    with ThreadingHTTPServer(("127.0.0.1", 0), OpenAI) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def vectors_url(tmp_path_factory):
    log = tmp_path_factory.mktemp("vectors") / "log"
    child = Child("vector server", "workbench.vectors.server", log=log, env={"WORKBENCH_API_KEY": KEY})
    try:
        yield child.wait_ready()
    finally:
        child.stop()


@pytest.fixture(scope="module")
def bare(tmp_path_factory, function_zip):
    """(interpreter, folder of the unzipped zip)."""
    home = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home / "venv"], check=True)
    zipfile.ZipFile(io.BytesIO(function_zip)).extractall(home / "task")
    return home / "venv" / "bin" / "python", home / "task"


@pytest.fixture
def run(bare, embedded_cloud):
    """Runs a handler on events, in an environment of these variables and those that Lambda itself sets."""

    def run(module: str, variables: dict[str, str], events: list[dict]) -> dict:
        env = {
            **variables,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": embedded_cloud.aws_url,  # emulators set it
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        python, folder = bare
        command = [python, "-I", "-c", RUNNER, folder, module, ",".join(FORBIDDEN)]
        done = subprocess.run(command, input=json.dumps(events), env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout) | {"log": done.stderr}
        inside = (str(folder), sys.base_prefix, str(python.parents[1]))
        assert [origin for origin in result["origins"] if not origin.startswith(inside)] == []
        assert [entry for entry in result["path"] if "site-packages" in entry and not entry.startswith(inside[2])] == []
        return result

    return run


def variables(resource: str, values: dict[str, str]) -> dict[str, str]:
    """The environment that the stack's template gives a function; a name that it does not set is an error, and the reverse."""
    loader = type("Loader", (yaml.SafeLoader,), {})
    loader.add_multi_constructor("!", lambda loader, suffix, node: suffix)
    names = yaml.load(TEMPLATE.read_text(), loader)["Resources"][resource]["Properties"]["Environment"]["Variables"]
    return {name: values[name] for name in names}


def test_both_handlers_run_in_a_bare_interpreter(run, embedded_cloud, dynamodb, tables, vectors_url, embeddings_url):
    name, embedder = f"bare-{uuid.uuid4().hex[:8]}", OpenAI.embedder
    sqs = client("sqs", embedded_cloud)
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    put_items(dynamodb, tables.products, (each.to_item() for each in PRODUCTS))
    put_items(dynamodb, tables.profiles, [Profile("anna", {"age": "65+"}, HABITS).to_item()])
    store = PineconeStore(url=vectors_url, key=KEY, name=name, dimension=embedder.dimension)
    vectors = {each.product_id: embedder.vector(each.description) for each in PRODUCTS}
    store.upsert(
        [
            Record(each.product_id, vectors[each.product_id], {"description": each.description, "popularity": each.popularity})
            for each in PRODUCTS
        ],
        namespace=CATALOGUE,
    )
    values = {
        "PROFILES_TABLE": tables.profiles,
        "PRODUCTS_TABLE": tables.products,
        "RECOMMENDATIONS_TABLE": tables.recommendations,
        "VECTORS_URL": vectors_url,
        "VECTORS_KEY": KEY,
        "EMBEDDINGS_URL": embeddings_url,
        "EMBEDDINGS_KEY": KEY,
        "FUNCTION_SETTINGS": Configuration(SETTINGS.to_dict(), embedder.model, embedder.dimension, name).to_json(),
        "DEAD_LETTER_QUEUE_URL": queue,
    }

    first = batch(event("e1", "anna", "p2"), b"junk", event("e2", "anna", "p3", NOON + 1), event("e3", "ben", "p5"))
    told = run("workbench.function.process", variables("Process", values), [first, first, {"Records": []}])
    assert [list(answer["rejected"]) for answer in told["answers"]] == [["2"], ["2"], []]
    assert [answer["batchItemFailures"] for answer in told["answers"]] == [[]] * 3
    (letter,) = DeadLetters(sqs, queue).take({"2"})
    assert letter.data == b"junk" and letter.reason.startswith("not a json event")
    assert [answer["cold"] for answer in told["answers"]] == [True, False, False]
    assert told["foreign"] == []
    logged = [json.loads(line) for line in told["log"].splitlines()]
    assert [line["records"] for line in logged] == [4, 4, 0] and KEY not in told["log"]

    items = {item["user_id"]["S"]: item for item in dynamodb.scan(TableName=tables.recommendations)["Items"]}
    taste = 0.5 * vectors["p2"] + 0.5 * vectors["p3"]
    best = _best(taste / np.linalg.norm(taste), vectors, without={"p2", "p3"}, weight={"p9": 2.0})
    made = recommendation_from_item(items["anna"])
    assert items.keys() == {"anna", "ben"}
    assert [entry["product_id"] for entry in made.items] == [product_id for product_id, _ in best]
    assert [entry["score"] for entry in made.items] == pytest.approx([score for _, score in best], abs=1e-3)
    assert [touch.event_id for touch in Activity.from_item(items["anna"]).recent] == ["e1", "e2"]
    assert store.stats() == {CATALOGUE: 40, USERS: 2}
    store.close()

    asked = [{"queryStringParameters": each} for each in ({"user_id": "anna"}, {"user_id": "nobody"}, {"other": "1"}, None)]
    asked += [{}, {"queryStringParameters": {"user_id": " "}}, {"queryStringParameters": {"user_id": "x" * 3000}}]
    told = run("workbench.function.read", variables("Read", values), asked)
    assert [answer["statusCode"] for answer in told["answers"]] == [200, 404, 400, 400, 400, 400, 400] and told["foreign"] == []
    assert all(answer["headers"] == {"Content-Type": "application/json"} for answer in told["answers"])
    found, unknown, *missing = (json.loads(answer["body"]) for answer in told["answers"])
    assert found == {"user_id": "anna", "items": list(made.items), "trace_id": "trace-e2"}
    assert unknown == {"message": "nothing is known of user 'nobody' yet"}
    assert all("user_id" in each["message"] for each in missing) and "500 ASCII" in missing[-1]["message"]


def test_the_articles_handler_runs_in_a_bare_interpreter(run, dynamodb, tables, vectors_url, embeddings_url):
    name, embedder = f"bare-{uuid.uuid4().hex[:8]}", OpenAI.embedder
    put_items(dynamodb, tables.products, (each.to_item() for each in PRODUCTS))
    told = Configuration(SETTINGS.but(handler="published").to_dict(), embedder.model, embedder.dimension, name)
    values = {
        "PROFILES_TABLE": tables.profiles,
        "PRODUCTS_TABLE": tables.products,
        "RECOMMENDATIONS_TABLE": tables.recommendations,
        "VECTORS_URL": vectors_url,
        "VECTORS_KEY": KEY,
        "EMBEDDINGS_URL": embeddings_url,
        "EMBEDDINGS_KEY": KEY,
        "FUNCTION_SETTINGS": told.to_json(),
        "DEAD_LETTER_QUEUE_URL": "https://sqs.test/queue",  # the article's handler puts nothing aside
    }
    clicks = [event(f"e{n}", "anna", f"p{n}", NOON + n) for n in range(7)]
    told = run("workbench.function.process", variables("Process", values), [batch(*clicks), batch(clicks[-1]), {"Records": []}])
    first, again, empty = told["answers"]
    assert told["foreign"] == [] and [answer["cold"] for answer in told["answers"]] == [True, False, False]

    newest = embedder.vector(PRODUCTS[6].description)
    nearest = sorted(range(6), key=lambda n: -float(newest @ embedder.vector(PRODUCTS[n].description)))[:4]
    assert [item["product_id"] for item in first["recommendations"]["anna"]] == [f"p{n}" for n in nearest]
    assert again["recommendations"] == first["recommendations"] and empty["recommendations"] == {}
    assert list(first["records"]) == [str(number) for number in range(1, 8)] and first["batchItemFailures"] == []
    assert dynamodb.scan(TableName=tables.recommendations)["Items"] == []


def _best(taste: np.ndarray, vectors: dict, *, without: set[str], weight: dict[str, float]) -> list[tuple[str, float]]:
    scores = {
        each.product_id: float(taste @ vectors[each.product_id])
        + 0.5 * each.popularity
        + 3.0 * np.log(1 + weight.get(each.product_id, 0.0))
        for each in PRODUCTS
        if each.product_id not in without
    }
    return sorted(scores.items(), key=lambda pair: -pair[1])[:5]
