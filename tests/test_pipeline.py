"""Whole runs on real servers, small ones: every event of the shopping data goes through every box."""

import base64
import json
import os
import signal
import threading
import time

import httpx
import pytest

from workbench import pipeline
from workbench.cloud import stack
from workbench.cloud.clients import client
from workbench.errors import ServiceError, SettingError
from workbench.function.entities import Activity
from workbench.measure.timeline import WAY
from workbench.provision import STACK
from workbench.runs import Run
from workbench.servers import Services, services, status
from workbench.settings import Endpoints, Flat, Settings
from workbench.stream.checkpoints import Checkpoints

_SMALL = Settings(events=150, warmup=20, catalogue=300, rate=50)
_SPOILED = {
    b"not an event": "not a json event: ",
    b'{"event_id": "1", "product_id": "2", "timestamp_ms": 3, "trace_id": "4"}': "Object missing required field user_id",
    b'{"event_id": "1", "user_id": "9", "product_id": "none", "timestamp_ms": 3, "trace_id": "4"}': (
        "product 'none' is not in the products table"
    ),
    b"\xff\xfe": "not a json event: ",
}


@pytest.fixture(scope="module")
def inline(local_servers: Services) -> Run:
    return pipeline.run(_SMALL, local_servers)


@pytest.fixture(scope="module")
def deployed(local_servers: Services, inline: Run) -> Run:
    return pipeline.run(_SMALL.but(placement="lambda"), local_servers)


@pytest.fixture(params=["inline", "deployed"])
def run(request: pytest.FixtureRequest) -> Run:
    return request.getfixturevalue(request.param)


def _products(run: Run) -> dict[str, list[str]]:
    return {user: [entry["product_id"] for entry in made.items] for user, made in run.recommendations.items()}


def test_every_event_is_answered(run):
    assert len(run.events) == 170 and run.events.outcome.tolist() == ["answered"] * 170
    assert run.lost == 0 and run.dead_letters == [] and run.cloud == "embedded"
    assert len(run.measured) == 150 and run.measured.index[0] == 20


def test_the_events_are_the_replays_in_order(run):
    assert run.events.event_id.tolist() == [event.event_id for event in run.replay.events]
    assert run.events.due_s.is_monotonic_increasing and run.events.due_s.iloc[0] == 0.0


def test_the_stages_add_up_to_the_latency_of_each_event(run):
    sums = run.events[[f"{stage}_ms" for stage in WAY]].sum(axis=1)
    assert (sums - run.events.latency_ms).abs().max() < 1e-6
    assert (run.events[["send_ms", "stream_ms", "queue_ms", *(f"{stage}_ms" for stage in WAY[4:10])]] >= 0).all(axis=None)
    assert (run.events.service_ms <= run.events.latency_ms).all()


def test_the_read_model_holds_five_products_for_each_user(run):
    assert set(run.recommendations) == {event.user_id for event in run.replay.events}
    known = {product.product_id: product.description for product in run.replay.products}
    for made in run.recommendations.values():
        assert len({entry["product_id"] for entry in made.items}) == 5
        assert all(known.get(entry["product_id"], entry["description"]) == entry["description"] for entry in made.items)
        scores = [entry["score"] for entry in made.items]
        assert scores == sorted(scores, reverse=True)


def test_a_recommendation_carries_the_trace_of_the_users_last_event(run):
    last = {event.user_id: event.trace_id for event in run.replay.events}
    assert {user: made.trace_id for user, made in run.recommendations.items()} == last


def test_only_the_deployed_function_has_cold_starts(inline, deployed):
    assert inline.cold_starts_ms == [] and not inline.events.cold.any()
    assert len(deployed.cold_starts_ms) == _SMALL.shards and min(deployed.cold_starts_ms) > 0
    assert not deployed.events.cold.any()  # empty batches woke them: no figure contains one


def test_both_placements_recommend_the_same(inline, deployed):
    assert _products(inline) == _products(deployed)


def test_hits_are_what_the_next_baskets_say(inline):
    products, baskets = _products(inline), inline.replay.next_basket
    assert inline.hits.to_dict() == {user: float(bool(baskets[user] & set(products[user]))) for user in baskets}
    popular = set(inline.replay.popular)
    assert inline.hits_of_popular.to_dict() == {user: float(bool(baskets[user] & popular)) for user in baskets}
    assert inline.hits_of({}).sum() == 0.0 and len(inline.hits_of({})) == len(baskets)


def test_the_api_answers_from_the_read_model(deployed):
    user, made = next(iter(deployed.recommendations.items()))
    with httpx.Client(trust_env=False, timeout=30.0) as http:
        found = http.get(deployed.api_url, params={"user_id": user})
        assert found.status_code == 200
        assert found.json() == {"user_id": user, "items": list(made.items), "trace_id": made.trace_id}
        unknown = http.get(deployed.api_url, params={"user_id": "nobody"})
        assert (unknown.status_code, unknown.json()) == (404, {"message": "nothing is known of user 'nobody' yet"})
        for asked in ({}, {"user_id": ""}, {"user_id": "  "}, {"user": user}):
            refused = http.get(deployed.api_url, params=asked)
            assert refused.status_code == 400 and "user_id" in refused.json()["message"]


def test_a_second_run_starts_from_users_who_have_done_nothing(local_servers, inline):
    again = pipeline.run(_SMALL, local_servers)
    assert _products(again) == _products(inline)
    assert again.events.attempts.tolist() == [1] * 170


def test_the_articles_variant_recommends_only_what_the_user_touched(local_servers):
    run = pipeline.run(_SMALL.but(variant="article", rate=0), local_servers)
    assert run.lost == 0 and run.dead_letters == []
    touched: dict[str, set[str]] = {}
    for event in run.replay.events:
        touched.setdefault(event.user_id, set()).add(event.product_id)
    assert set(run.recommendations) == set(touched)
    assert all(set(items) <= touched[user] for user, items in _products(run).items())
    assert all(len(items) <= 4 or len(touched[user]) >= 5 for user, items in _products(run).items())


@pytest.mark.parametrize("placement", ["inline", "lambda"])
def test_records_that_are_no_events_end_in_the_dead_letters_with_their_reasons(local_servers, placement):
    run = pipeline.run(_SMALL.but(events=50, warmup=0, placement=placement), local_servers, spoiled=list(_SPOILED))
    assert run.events.outcome.tolist() == ["answered"] * 50 and run.lost == 0
    reasons = {base64.b64decode(letter["workbench"]["data"]): letter["workbench"]["reason"] for letter in run.dead_letters}
    assert len(run.dead_letters) == len(_SPOILED) and set(reasons) == set(_SPOILED)
    assert [data for data, reason in _SPOILED.items() if reason not in reasons[data]] == []
    assert {letter["requestContext"]["approximateInvokeCount"] for letter in run.dead_letters} == {3}


def test_an_index_that_the_vector_server_would_not_build_is_refused(local_servers):
    """It would be measured as another one than its name says."""
    with pytest.raises(SettingError, match=r"'type': 'flat'.*HNSW"):
        pipeline.run(_SMALL.but(placement="lambda", index=Flat()), local_servers)


def _outputs(endpoints: Endpoints) -> stack.StackOutputs:
    return stack.outputs(endpoints, STACK)


def _dead_letters(endpoints: Endpoints) -> list[dict]:
    sqs, queue, found = client("sqs", endpoints), _outputs(endpoints).dead_letter_queue_url, []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    return found


def _users(endpoints: Endpoints) -> dict[str, Activity]:
    """What the read model knows of each user."""
    pages = client("dynamodb", endpoints).get_paginator("scan").paginate(TableName=_outputs(endpoints).recommendations_table)
    return {item["user_id"]["S"]: Activity.from_item(item) for page in pages for item in page["Items"]}


def _kill_in_mid_run(endpoints: Endpoints, name: str) -> None:
    """SIGKILL to a server as soon as some events went the whole way."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if len(_users(endpoints)) >= 3:
                break
        except Exception:  # the stack is not there yet
            pass
        time.sleep(0.05)
    os.kill(next(server["pid"] for server in status()["servers"] if server["name"] == name), signal.SIGKILL)


def test_a_vector_server_that_is_killed_in_mid_run_loses_nothing(machine, until):
    with services() as running:
        killer = threading.Thread(target=_kill_in_mid_run, args=(running.endpoints, "the vector server"))
        killer.start()
        with pytest.raises(ServiceError) as raised:
            pipeline.run(_SMALL.but(placement="lambda", catalogue=100, rate=25), running)
        killer.join()
        assert str(raised.value).startswith("the vector server ended: ") and "\n" not in str(raised.value)
        assert threading.active_count() < 20
        _assert_nothing_lost(running.endpoints)
    until(lambda: machine.processes() == [], "the servers have ended")


def _assert_nothing_lost(endpoints: Endpoints) -> None:
    """Each record in the stream was processed, is a dead letter, or is behind the checkpoint, where the next reader begins."""
    outputs, kinesis = _outputs(endpoints), client("kinesis", endpoints)
    checkpoints = Checkpoints(client("dynamodb", endpoints), outputs.checkpoints_table, consumer=outputs.process_function)
    dead = {letter["KinesisBatchInfo"]["startSequenceNumber"] for letter in _dead_letters(endpoints)}
    processed: dict[str, list[str]] = {}
    left = 0
    for shard in kinesis.list_shards(StreamName=outputs.stream_name)["Shards"]:
        begin = kinesis.get_shard_iterator(
            StreamName=outputs.stream_name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        checkpoint = int(checkpoints.read(shard["ShardId"]) or 0)
        for record in kinesis.get_records(ShardIterator=begin["ShardIterator"], Limit=10_000)["Records"]:
            event = json.loads(record["Data"])
            if int(record["SequenceNumber"]) > checkpoint:
                left += 1
            elif record["SequenceNumber"] not in dead:
                processed.setdefault(event["user_id"], []).append(event["event_id"])
    assert processed and left + len(dead) > 0
    users = _users(endpoints)
    for user, event_ids in processed.items():
        assert all(users[user].knows(event_id) for event_id in event_ids[-Activity.REMEMBERED :])
