"""Whole runs on real servers, small ones: every event of the shopping data goes through every box."""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest

from workbench import pipeline
from workbench.clock import now_ns
from workbench.cloud import stack
from workbench.cloud.clients import client
from workbench.errors import ServiceError, SettingError, VectorError
from workbench.function.entities import Activity
from workbench.measure.resources import MACHINE, STOLEN
from workbench.measure.timeline import WAY, Timeline
from workbench.provision import STACK
from workbench.runs import Run
from workbench.servers import Services, services, status
from workbench.settings import IVF, Endpoints, Flat, Settings
from workbench.stream.dead_letters import DeadLetter, parse
from workbench.stream.leases import Leases
from workbench.summaries import figures

_SMALL = Settings(events=150, warmup=20, catalogue=300, rate=50)
_PUBLISHED = _SMALL.but(handler="published", events=60, warmup=0, rate=0)
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
    reasons = {letter.data: letter.reason for letter in run.dead_letters}
    assert len(run.dead_letters) == len(_SPOILED) and set(reasons) == set(_SPOILED)
    assert [data for data, reason in _SPOILED.items() if reason not in reasons[data]] == []
    assert {(letter.calls, letter.records, letter.partition_key) for letter in run.dead_letters} == {(1, 1, "spoiled")}


def test_the_vector_server_builds_the_index_that_the_settings_name(local_servers):
    """Else it would be measured as another one than its name says."""
    endpoints = local_servers.endpoints
    with contextlib.closing(pipeline._client(endpoints, "of-its-own-kind", 4, IVF(nlist=2, nprobe=1))):
        answer = httpx.get(f"{endpoints.vectors_url}/indexes/of-its-own-kind", headers={"api-key": endpoints.vectors_key})
    assert answer.json()["tags"] == {"workbench-index": "ivf:nlist=2,nprobe=1"}
    with pytest.raises(VectorError, match=r"exists as ivf:nlist=2,nprobe=1, not as flat$"):
        pipeline._client(endpoints, "of-its-own-kind", 4, Flat())


@pytest.mark.parametrize("change", [{"placement": "lambda"}, {"handler": "published"}])
def test_a_slower_query_is_refused_where_there_is_none_to_slow_down(local_servers, change):
    with pytest.raises(SettingError, match=r"^query_slowdown = 2\.0 is not allowed: 1 unless the placement is inline and"):
        pipeline.run(_SMALL.but(query_slowdown=2, **change), local_servers)


def test_slower_queries_change_no_answer(local_servers, inline):
    slowed = pipeline.run(_SMALL.but(query_slowdown=10, rate=0), local_servers)
    assert slowed.lost == 0 and _products(slowed) == _products(inline)


def test_a_run_has_every_figure_that_it_can_have(run):
    found = figures(run)
    beyond = {"p95_ms", "p99_ms", "p999_ms", "service_p99_ms", "freshness_p95_ms"}  # 150 samples do not carry these
    none = beyond | ({"cold_start_ms"} if run.settings.placement == "inline" else set())
    assert {name for name, value in found.items() if not math.isfinite(value)} == none
    assert (found["answered"], found["dead"], found["refused"], found["lost"], found["retried"]) == (170, 0, 0, 0, 0)
    assert found["mean_ms"] == pytest.approx(sum(found[f"{part}_ms"] for part in WAY))
    assert found["service_p50_ms"] <= found["p50_ms"] and 0 < found["freshness_p50_ms"] < found["service_p50_ms"]
    assert found["offered_per_s"] == pytest.approx(149 / (run.events.due_s.iloc[-1] - run.events.due_s.iloc[20]))
    assert 0 < found["cpu_cores"] <= os.cpu_count() and found["memory_mib"] > 50
    assert found["hit_rate"] == run.hits.mean() and 1 <= found["events_per_batch"] <= _SMALL.batch_size


def test_processors_and_memory_are_those_of_this_process_and_the_servers(run, local_servers):
    assert local_servers.pids == {server["name"]: server["pid"] for server in status()["servers"]}
    assert set(run.resources.process) == {"this process", *local_servers.pids, MACHINE, STOLEN}
    rss = run.resources.groupby("process").rss_mib.max()
    assert (rss[["this process", *local_servers.pids]] > 10).all() and rss[[MACHINE, STOLEN]].isna().all()


def test_no_search_finds_a_vector_before_its_upsert_began(run):
    """Looked for from outside, each event is found after what its own times say, and long before the probe gives up."""
    probed, events = run.findable, run.events.iloc[run.findable["index"]]
    assert set(probed.outcome) == {"findable"} and len(probed) >= 2
    seen_ms = (probed.findable_ns - probed.sent_ns).to_numpy() / 1e6
    upserting_ms = (events.freshness_ms - events.upsert_ms).to_numpy()
    assert (seen_ms >= upserting_ms - 0.1).all()  # two processes' clocks differ by microseconds
    assert (seen_ms < 10_000).all()
    assert figures(run)["probed_freshness_ms"] == pytest.approx(np.median(seen_ms[probed["index"] >= 20]))


@pytest.mark.parametrize("change", [{"variant": "none"}, {"variant": "article"}])
def test_a_design_that_writes_no_users_vector_is_not_searched_for_one(local_servers, change):
    run = pipeline.run(_SMALL.but(events=30, warmup=0, rate=0, **change), local_servers)
    assert run.findable is None and math.isnan(figures(run)["probed_freshness_ms"])


@pytest.fixture(scope="module", params=["inline", "lambda"])
def published(request: pytest.FixtureRequest, local_servers: Services) -> tuple[Run, Timeline]:
    """The article's handler, and the timeline that followed it."""
    kept: list[Timeline] = []

    class Kept(Timeline):
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "Timeline", Kept)
        run = pipeline.run(_PUBLISHED.but(placement=request.param), local_servers)
    return run, kept[0]


def test_the_articles_handler_answers_every_event(published):
    run, _ = published
    assert run.events.outcome.tolist() == ["answered"] * 60 and run.lost == 0 and run.dead_letters == []
    assert run.events.attempts.tolist() == [1] * 60 and run.findable is None
    assert len(run.cold_starts_ms) == (0 if run.settings.placement == "inline" else _PUBLISHED.shards)


def test_the_articles_handlers_stages_add_up_to_the_latency_of_each_event(published):
    run, _ = published
    sums = run.events[[f"{stage}_ms" for stage in WAY]].sum(axis=1)
    assert (sums - run.events.latency_ms).abs().max() < 1e-6
    assert (run.events[[f"{stage}_ms" for stage in ("enrich", "embed", "upsert", "query")]] > 0).all(axis=None)
    assert (run.events.act_ms == 0).all() and (run.events.return_ms == 0).all()  # nobody is handed anything
    assert (run.events.freshness_ms < run.events.service_ms).all()


def test_the_articles_handler_takes_a_batchs_records_one_after_the_other(published):
    run, timeline = published
    for answer in timeline.answers:
        begun = [one["started_ns"] for one in answer["records"].values()]
        ended = [one["started_ns"] + sum(one["stages_ns"].values()) for one in answer["records"].values()]
        assert [int(number) for number in answer["records"]] == sorted(map(int, answer["records"]))
        assert answer["started_ns"] <= begun[0]
        assert all(before <= after for before, after in zip(ended, begun[1:], strict=False))
    assert sum(len(answer["records"]) for answer in timeline.answers) == 60
    for _, batch in run.events[run.events.batch > 1].groupby("batch"):
        assert batch.latency_ms.nunique() == len(batch), "each has a latency of its own"


def test_the_articles_handler_recommends_a_users_nearest_other_clicks(published):
    """The nearest five less the click itself: four, or all there are; five only where older clicks are exactly as near."""
    run, _ = published
    names = {product.product_id: product.description for product in run.replay.products}
    clicks: dict[str, list[str]] = {}
    for event in run.replay.events:
        clicks.setdefault(event.user_id, []).append(event.product_id)
    assert set(run.recommendations) == set(clicks)
    for user, made in run.recommendations.items():
        assert min(4, len(clicks[user]) - 1) <= len(made.items) <= min(5, len(clicks[user]))
        assert {item["product_id"] for item in made.items} <= set(clicks[user])
        assert all(item["description"] == names[item["product_id"]] for item in made.items)
        scores = [item["score"] for item in made.items]
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("placement", ["inline", "lambda"])
def test_a_bad_record_takes_its_whole_batch_into_the_articles_dead_letters(local_servers, placement):
    """It knows no partial failure: nine good events that share a batch with it are tried three times and given up with it."""
    settings = _PUBLISHED.but(placement=placement, events=29, shards=1, batch_size=10, maximum_batching_window_in_seconds=20)
    settings = settings.but(bisect_batch_on_function_error=False)
    run = pipeline.run(settings, local_servers, spoiled=[b"not an event"])
    outcomes = run.events.outcome.value_counts().to_dict()
    assert outcomes == {"answered": 20, "dead": 9} and run.lost == 0  # batches of 1 + 9, 10 and 10
    dead = run.events[run.events.outcome == "dead"]
    assert (dead.attempts == 3).all() and (run.events[run.events.outcome == "answered"].attempts == 1).all()
    (letter,) = run.dead_letters  # one for the batch, and nothing of what was in it, as AWS sends it
    assert (letter.records, letter.calls, letter.reason, letter.data) == (10, 3, "RetryAttemptsExhausted", None)


def test_bisecting_saves_the_good_events_of_the_articles_batch(local_servers):
    settings = _PUBLISHED.but(events=29, shards=1, batch_size=10, maximum_batching_window_in_seconds=20)
    run = pipeline.run(settings, local_servers, spoiled=[b"not an event"])
    assert run.events.outcome.tolist() == ["answered"] * 29 and run.lost == 0
    (letter,) = run.dead_letters
    assert (letter.records, letter.reason) == (1, "RetryAttemptsExhausted")


def test_synthetic_events_are_answered_and_have_no_next_basket(local_servers):
    settings = _SMALL.but(source="synthetic", rate=0)
    run, again = (pipeline.run(settings, local_servers) for _ in range(2))
    assert run.events.outcome.tolist() == ["answered"] * 170 and run.lost == 0
    assert run.replay.events == again.replay.events
    assert [event.event_id for event in run.replay.events] == [f"synthetic-{settings.seed}-{number}" for number in range(170)]
    assert len(run.hits) == 0 and math.isnan(figures(run)["hit_rate"])
    assert _products(run) == _products(again)


def test_another_seed_draws_other_synthetic_events_and_replays_the_same_recorded_ones():
    synthetic = _SMALL.but(source="synthetic")
    drawn, others = pipeline._data(synthetic), pipeline._data(synthetic.but(seed=8))
    assert [event.user_id for event in drawn.events] != [event.user_id for event in others.events]
    assert pipeline._data(_SMALL.but(seed=8)).events == pipeline._data(_SMALL).events


# Says when its replay began and ended, Unix ns.
_TIMED = """
from workbench import pipeline
from workbench.clock import now_ns
from workbench.servers import services
from workbench.settings import Settings

plain = pipeline.replay

def timed(*args, **options):
    begun = now_ns()
    plain(*args, **options)
    print(begun, now_ns(), flush=True)

pipeline.replay = timed
with services() as running:
    print(pipeline.run(Settings(events=60, warmup=0, catalogue=300, rate=60), running).lost)
"""
_WAITS = "another run is under way on this machine: waiting for its end\n"


def test_two_runs_at_once_take_turns(local_servers):
    """Both are held back until both wait, so that nothing but the lock keeps them apart."""
    with pipeline._alone():
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        both = [subprocess.Popen([sys.executable, "-c", _TIMED], **pipes) for _ in range(2)]
        waits = [process.stderr.readline() for process in both]
        released = now_ns()
    said = [process.communicate(timeout=120)[0].split() for process in both]
    assert waits == [_WAITS] * 2 and [process.returncode for process in both] == [0, 0]
    assert [lost for *_, lost in said] == ["0", "0"]
    (first_begun, first_ended), (second_begun, _) = sorted((int(begun), int(ended)) for begun, ended, _ in said)
    assert released < first_begun < first_ended < second_begun


def _outputs(endpoints: Endpoints) -> stack.StackOutputs:
    return stack.outputs(endpoints, STACK)


def _dead_letters(endpoints: Endpoints) -> list[DeadLetter]:
    sqs, queue, found = client("sqs", endpoints), _outputs(endpoints).dead_letter_queue_url, []
    while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for message in messages:
            found.append(parse(message["Body"]))
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
    before = threading.active_count()  # other tests' servers and pools
    with services() as running:
        killer = threading.Thread(target=_kill_in_mid_run, args=(running.endpoints, "the vector server"))
        killer.start()
        with pytest.raises(ServiceError) as raised:
            pipeline.run(_SMALL.but(placement="lambda", catalogue=100, rate=25), running)
        killer.join()
        assert str(raised.value).startswith("the vector server ended: ") and "\n" not in str(raised.value)
        assert threading.active_count() < before + 20
        _assert_nothing_lost(running.endpoints)
    until(lambda: machine.processes() == [], "the servers have ended")


def _assert_nothing_lost(endpoints: Endpoints) -> None:
    """Each record in the stream was processed, is a dead letter, or is behind the checkpoint, where the next reader begins."""
    outputs, kinesis = _outputs(endpoints), client("kinesis", endpoints)
    dynamodb = client("dynamodb", endpoints)
    leases = Leases(dynamodb, outputs.checkpoints_table, consumer=outputs.process_function, worker="test")
    dead = [(letter.shard_id, int(letter.first), int(letter.last)) for letter in _dead_letters(endpoints)]
    processed: dict[str, list[str]] = {}
    left = 0
    for shard in kinesis.list_shards(StreamName=outputs.stream_name)["Shards"]:
        begin = kinesis.get_shard_iterator(
            StreamName=outputs.stream_name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )
        checkpoint = int(next((lease.checkpoint for lease in leases.all([shard["ShardId"]])), None) or 0)
        for record in kinesis.get_records(ShardIterator=begin["ShardIterator"], Limit=10_000)["Records"]:
            event = json.loads(record["Data"])
            number = int(record["SequenceNumber"])
            if number > checkpoint:
                left += 1
            elif not any(shard_id == shard["ShardId"] and first <= number <= last for shard_id, first, last in dead):
                processed.setdefault(event["user_id"], []).append(event["event_id"])
    assert processed and left + len(dead) > 0
    users = _users(endpoints)
    for user, event_ids in processed.items():
        assert all(users[user].knows(event_id) for event_id in event_ids[-Activity.REMEMBERED :])
