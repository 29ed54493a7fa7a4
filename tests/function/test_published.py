"""The article's handler over the real protocols, each by its real client: DynamoDB, OpenAI's embeddings, Pinecone's vectors."""

import base64
import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from workbench.clock import now_ns
from workbench.embedding.openai import OpenAIEmbedder
from workbench.errors import DecodeError, EventRejected, SettingError, VectorError
from workbench.events import Event
from workbench.function.entities import Habit, Profile
from workbench.function.processor import STAGES
from workbench.function.published import Published
from workbench.function.tables import put_items
from workbench.process import Child
from workbench.settings import Settings
from workbench.vectors.pinecone import PineconeStore

from .world import NOON, HashEmbedder, batch, event, product

KEY = "sesame"
EMBEDDER = HashEmbedder()
PRODUCTS = {f"p{number}": product(f"p{number}", number / 20) for number in range(20)}
RECORD = ("profiles", "products", "embed", "upsert", "query")  # what is asked for one record, in this order
_numbers = itertools.count()


class Embeddings(ThreadingHTTPServer):
    """POST /v1/embeddings as OpenAI answers it; knows how many connections were opened and how many have ended."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        self.opened = self.ended = 0
        self._lock = threading.Lock()

    def count(self, *, opened: int = 0, ended: int = 0) -> None:
        with self._lock:
            self.opened += opened
            self.ended += ended


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a connection stays open until the client closes it

    def setup(self) -> None:
        super().setup()
        self.server.count(opened=1)

    def finish(self) -> None:
        super().finish()
        self.server.count(ended=1)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        rows = (EMBEDDER.vector(text) for text in asked["input"])
        data = [{"index": n, "embedding": base64.b64encode(row.tobytes()).decode()} for n, row in enumerate(rows)]
        body = json.dumps({"data": data, "model": asked["model"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def embeddings() -> Iterator[Embeddings]:
    with Embeddings() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def vectors_url(tmp_path_factory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("vectors") / "log"
    child = Child("vector server", "workbench.vectors.server", log=log, env={"WORKBENCH_API_KEY": KEY})
    try:
        yield child.wait_ready()
    finally:
        child.stop()


class World:
    """The tables filled, an index of its own, and a handler whose calls are noted in the order they are made."""

    def __init__(self, dynamodb, tables, embeddings_url: str, vectors_url: str) -> None:
        self.dynamodb, self.tables = dynamodb, tables
        self.calls: list[tuple] = []
        self.open: list[object] = []  # clients that were made and not closed
        self.made: list[object] = []
        self._embeddings_url, self._vectors_url = embeddings_url, vectors_url
        self._index = f"published-{next(_numbers)}"
        put_items(dynamodb, tables.products, (each.to_item() for each in PRODUCTS.values()))
        put_items(dynamodb, tables.profiles, [Profile("anna", {"age": "65+"}, (Habit(PRODUCTS["p3"], 4.0),)).to_item()])
        self.handler = self.handle(Settings(handler="published"))
        self.made.clear()  # one of each, when the handler was made

    def handle(self, settings: Settings) -> Published:
        return Published(
            settings,
            dynamodb=self.dynamodb,
            tables=self.tables,
            make_embedder=self._embedder,
            make_store=lambda: closing(self._store()),
        )

    def process(self, *entries: Event | bytes | str) -> dict:
        return self.handler.process(batch(*entries))

    def stored(self) -> dict[str, int]:
        with closing(self._plain_store()) as store:
            return store.stats()

    def noted(self, model, params, **_) -> None:
        """A call of DynamoDB, before it is sent."""
        asked = json.loads(params["body"])
        name = next(name for name in ("profiles", "products", "recommendations") if asked["TableName"].startswith(name))
        (key,) = (value["S"] for value in asked["Key"].values())
        assert model.name == "GetItem"
        self.calls.append((name, key))

    def _plain_store(self) -> PineconeStore:
        return PineconeStore(url=self._vectors_url, key=KEY, name=self._index, dimension=EMBEDDER.dimension)

    def _embedder(self) -> OpenAIEmbedder:
        made = OpenAIEmbedder(url=self._embeddings_url, key=KEY, model="hash-1", dimension=EMBEDDER.dimension)
        return self._watched(made, embed=lambda texts: ("embed", tuple(texts)))

    def _store(self) -> PineconeStore:
        return self._watched(
            self._plain_store(),
            upsert=lambda records, namespace: ("upsert", namespace, tuple(record.id for record in records)),
            query=lambda vectors, top_k, namespace: ("query", namespace, len(vectors), top_k),
        )

    def _watched(self, made, **notes):
        """The client, which notes these calls and its closing."""

        def watch(name: str, note) -> None:
            plain = getattr(made, name)

            def call(*args, **options):
                note(*args, **options)
                return plain(*args, **options)

            setattr(made, name, call)

        for name, say in notes.items():
            watch(name, lambda *args, say=say, **options: self.calls.append(say(*args, **options)))
        watch("close", lambda: self.open.remove(made))
        self.open.append(made)
        self.made.append(made)
        return made


@pytest.fixture
def world(dynamodb, tables, embeddings, vectors_url) -> Iterator[World]:
    world = World(dynamodb, tables, embeddings.url, vectors_url)
    dynamodb.meta.events.register("before-call.dynamodb", world.noted, unique_id="noted")
    yield world
    dynamodb.meta.events.unregister("before-call.dynamodb", unique_id="noted")
    assert world.open == []


def nearest(clicked: list[str]) -> list[tuple[str, float]]:
    """The four earlier clicks nearest to the last one, and their cosines, from the vectors alone."""
    *earlier, last = (EMBEDDER.vector(PRODUCTS[name].description).astype(np.float64) for name in clicked)
    cosines = [(name, float(last @ each)) for name, each in zip(clicked, earlier, strict=False)]
    return sorted(cosines, key=lambda pair: -pair[1])[:4]


def shown(items: list[dict]) -> list[tuple[str, float]]:
    assert all(item["description"] == PRODUCTS[item["product_id"]].description for item in items)
    return [(item["product_id"], pytest.approx(item["score"], abs=1e-4)) for item in items]


def test_one_record_after_the_other_each_with_calls_of_its_own(world):
    world.process(event("e1", "anna", "p1"), event("e2", "ben", "p2"), event("e3", "anna", "p4"))
    expected = []
    for number, user, bought in (("e1", "anna", "p1"), ("e2", "ben", "p2"), ("e3", "anna", "p4")):
        expected += [
            ("profiles", user),
            ("products", bought),
            ("embed", (PRODUCTS[bought].description,)),
            ("upsert", f"user-{user}", (number,)),
            ("query", f"user-{user}", 1, 5),
        ]
    assert world.calls == expected


def test_the_answer_is_the_four_nearest_earlier_clicks_of_that_user(world):
    clicks = [("anna", "p0"), ("ben", "p9"), *(("anna", f"p{n}") for n in (5, 2, 7, 11, 4)), ("ben", "p1"), ("anna", "p13")]
    clicked: dict[str, list[str]] = {"anna": [], "ben": []}
    for number, (user, bought) in enumerate(clicks):
        clicked[user].append(bought)
        answer = world.process(event(f"e{number}", user, bought, NOON + number))
        assert answer["recommendations"].keys() == {user}
        assert shown(answer["recommendations"][user]) == nearest(clicked[user])
    assert len(nearest(clicked["anna"])) == 4 and len(clicked["anna"]) == 7
    assert world.stored() == {"user-anna": 7, "user-ben": 2}


def test_a_first_click_is_answered_with_nothing(world):
    assert world.process(event("e1", "ben", "p1"))["recommendations"] == {"ben": []}


def test_records_of_a_batch_find_those_before_them_and_the_last_one_answers(world):
    names = ["p3", "p8", "p6", "p1", "p12", "p15"]
    answer = world.process(*(event(f"e{n}", "ben", name, NOON - n) for n, name in enumerate(names)))  # the shard's order counts
    assert shown(answer["recommendations"]["ben"]) == nearest(names)


def test_two_clicks_of_one_product_are_embedded_twice_and_the_product_comes_back(world):
    answer = world.process(event("e1", "ben", "p1"), event("e2", "ben", "p1"), event("e3", "ben", "p1"))
    assert [call for call in world.calls if call[0] == "embed"] == [("embed", (PRODUCTS["p1"].description,))] * 3
    assert shown(answer["recommendations"]["ben"]) == [("p1", 1.0), ("p1", 1.0)]


def test_every_record_opens_connections_of_its_own_and_closes_them(world, embeddings, until):
    before = embeddings.opened
    world.process(*(event(f"e{n}", "ben", f"p{n}") for n in range(3)))
    kinds = [type(each) for each in world.made]
    assert kinds == [OpenAIEmbedder, PineconeStore] * 3 and world.open == []
    assert embeddings.opened - before == 3
    until(lambda: embeddings.ended == embeddings.opened, "every connection has ended")


def test_the_profile_is_read_and_changes_nothing(world):
    """anna has one with a habit, ben has none."""
    for user in ("anna", "ben"):
        answer = world.process(event("e1", user, "p1"), event("e2", user, "p2"))
        assert shown(answer["recommendations"][user]) == nearest(["p1", "p2"])


@pytest.mark.parametrize(
    ("broken", "error", "reason"),
    [
        (b"junk", DecodeError, "not a json event"),
        ("%%%", DecodeError, "not a base64 event"),
        (None, DecodeError, "not a base64 event"),
        (event("e9", "ben", "p99"), EventRejected, "event e9: product 'p99' is not in the products table"),
        (event("e9", "ü", "p1"), VectorError, "namespace 'user-ü' is not allowed"),
    ],
)
def test_a_broken_record_fails_its_batch_and_what_was_done_stays_done(world, broken, error, reason):
    with pytest.raises(error, match=reason):
        world.process(event("e1", "ben", "p1"), broken, event("e3", "ben", "p3"))
    assert world.stored() == {"user-ben": 1}, "the record before it, and none after it"
    assert [call[1] for call in world.calls if call[0] == "products"][:1] == ["p1"] and ("products", "p3") not in world.calls
    assert world.open == []


def test_a_batch_that_comes_again_is_done_again_and_stored_once(world):
    clicks = [event(f"e{n}", "ben", f"p{n}") for n in range(3)]
    first, calls = world.process(*clicks), list(world.calls)
    again = world.process(*clicks)
    assert world.calls == calls * 2 and world.stored() == {"user-ben": 3}
    assert shown(again["recommendations"]["ben"]) == nearest(["p0", "p1", "p2"]) == shown(first["recommendations"]["ben"])


def test_the_answer_is_the_processors_and_tells_when_each_record_was_done(world):
    begun = now_ns()
    answer = world.process(*(event(f"e{n}", f"u{n}", "p1") for n in range(4)))
    ended = now_ns()
    assert answer["batchItemFailures"] == [] and answer["rejected"] == {}
    assert list(answer["records"]) == ["1", "2", "3", "4"]
    done = [one["started_ns"] + sum(one["stages_ns"].values()) for one in answer["records"].values()]
    times = [begun, answer["started_ns"], *done, ended]
    assert times == sorted(times) and len(set(times[1:-1])) == 5
    spent = answer["stages_ns"]
    assert list(spent) == list(STAGES) and spent["act"] == 0 and all(spent[stage] > 0 for stage in STAGES[:-1])
    assert sum(spent.values()) <= times[-2] - times[1]


def test_stage_times_are_sums_over_the_records(world, monkeypatch):
    ticks = itertools.count(step=7)  # each look at the clock is 7 ns after the one before
    monkeypatch.setattr("workbench.function.processor.perf_counter_ns", lambda: next(ticks))
    spent = world.process(*(event(f"e{n}", "ben", "p1") for n in range(3)))["stages_ns"]
    assert spent == {"decode": 21, "enrich": 21, "embed": 21, "upsert": 21, "query": 21, "act": 0}


def test_nothing_is_written_to_the_read_model(world):
    world.process(event("e1", "ben", "p1"), event("e2", "ben", "p2"))
    assert {name for name, *_ in world.calls} == set(RECORD), "nothing but reads of two tables and the calls of the clients"


@pytest.mark.parametrize("nothing", [{"Records": []}, {}])
def test_an_empty_batch_is_answered_without_a_call(world, nothing):
    answer = world.handler.process(nothing)
    assert answer["batchItemFailures"] == [] and answer["recommendations"] == {} and answer["records"] == {}
    assert answer["stages_ns"] == dict.fromkeys(STAGES, 0) and world.calls == [] and world.made == []


def test_one_client_of_each_is_opened_with_the_handler_and_closed(world):
    """The first record does not pay for the import of a library; and a missing key is said at the start."""
    world.handle(Settings(handler="published"))
    assert [type(each) for each in world.made] == [OpenAIEmbedder, PineconeStore] and world.open == [] and world.calls == []
    with pytest.raises(SettingError, match="API key"):
        Published(
            Settings(),
            dynamodb=world.dynamodb,
            tables=world.tables,
            make_embedder=lambda: OpenAIEmbedder(url=None, key="", model="hash-1", dimension=8),
            make_store=lambda: closing(world._store()),
        )
