"""Each documented rule of Lambda's event source mapping for Kinesis as one test, against the embedded Kinesis.

The quotations are AWS's: of the Lambda developer guide's pages on Kinesis (K), on event source mappings (M), on partial batch
responses (P), on windows (W) and on on-failure destinations (F), and of the API reference (A).
"""

import base64
import collections
import threading
import time

import pytest

from workbench.errors import FunctionFailed, FunctionNotReached
from workbench.stream.batch import Condition


def texts(event: dict) -> list[str]:
    return [base64.b64decode(record["kinesis"]["data"]).decode() for record in event["Records"]]


def numbers(event: dict) -> list[str]:
    return [record["kinesis"]["sequenceNumber"] for record in event["Records"]]


def fine(event: dict) -> dict:
    return {}


def raising(*bad: str, times: int = 1_000_000):
    """Fails where one of these texts is in the batch, so many times."""
    left = [times]

    def function(event: dict) -> dict:
        if left[0] and (not bad or set(bad) & set(texts(event))):
            left[0] -= 1
            raise ValueError("the store is away")
        return {}

    return function


def reporting(*bad: str):
    """Reports the records with these texts."""

    def function(event: dict) -> dict:
        failed = [number for number, text in zip(numbers(event), texts(event), strict=True) if text in bad]
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed]}

    return function


def discarded(wired) -> list[tuple[list[str], Condition, int]]:
    return [([each["Data"].decode() for each in gone.records], gone.condition, gone.invocations) for _, gone, _ in wired.discards]


# Batches


def test_k_each_batch_contains_records_from_a_single_shard_in_order(two_shards, until):
    """K: "Each batch contains records from a single shard"; "Lambda processes records in each shard in order"."""
    for number in range(60):
        two_shards.put(str(number), key=f"user-{number % 9}")
    with two_shards.source(fine, batch_size=10):
        until(lambda: sum(map(len, two_shards.calls())) == 60, "all records were delivered")
        shards = two_shards.contents()
    for shard_id, records in shards.items():
        batches = [delivery.records for delivery in two_shards.deliveries if delivery.shard_id == shard_id]
        full, rest = divmod(len(records), 10)
        assert full >= 1  # of either shard
        assert [len(batch) for batch in batches] == [10] * full + [rest] * (rest > 0)
        assert [record["SequenceNumber"] for batch in batches for record in batch] == [r["SequenceNumber"] for r in records]


def test_k_by_default_the_function_is_invoked_as_soon_as_records_are_available(wired):
    """K: "If the batch that Lambda reads from the event source has only one record in it, Lambda sends only one record"."""
    with wired.source(fine):
        wired.put("a")
        wired.until_delivered(1)
    assert wired.calls() == [["a"]]


def test_k_a_batching_window_gathers_records(wired):
    """K: "you can tell the event source to buffer records for up to 5 minutes by configuring a batching window"."""
    with wired.source(fine, maximum_batching_window_in_seconds=1):
        for text in "abc":
            wired.put(text)
        wired.until_delivered(1)
    assert wired.calls() == [["a", "b", "c"]]
    (delivery,) = wired.deliveries
    assert delivery.invoked_ns - delivery.received_ns[0] >= 1_000_000_000


def test_k_a_full_batch_does_not_wait_for_its_window(wired):
    """K: "until it has gathered a full batch, the batching window expires, or the batch reaches the payload limit of 6 MB"."""
    wired.put(*"abcde")
    with wired.source(fine, batch_size=2, maximum_batching_window_in_seconds=300):
        wired.until_delivered(2)
    assert wired.calls() == [["a", "b"], ["c", "d"]]


def test_k_nor_does_one_of_6_mb(wired):
    for letter in "abcdef":
        wired.put(letter * 1_000_000)
    with wired.source(fine, maximum_batching_window_in_seconds=300):
        wired.until_delivered(1)
    assert [[text[0] for text in call] for call in wired.calls()] == [["a", "b", "c", "d"]]


def test_k_polling_goes_on_at_once_while_records_remain(wired, until):
    """K: "When more records are available, Lambda keeps processing batches until the function catches up with the stream"."""

    class Short:
        def __getattr__(self, name: str):
            return getattr(wired.kinesis, name)

        def get_records(self, *, ShardIterator: str, Limit: int) -> dict:  # noqa: N803
            return wired.kinesis.get_records(ShardIterator=ShardIterator, Limit=min(Limit, 2))

    wired.put(*"abcdefg")
    with wired.source(fine, kinesis=Short(), poll_interval_s=1000.0):
        until(lambda: sum(map(len, wired.calls())) == 7, "all is delivered")
    assert [text for call in wired.calls() for text in call] == list("abcdefg")


# Starting positions


def test_a_trim_horizon_processes_all_records_in_the_stream(wired):
    wired.put("a", "b")
    with wired.source(fine, starting_position="TRIM_HORIZON"):
        wired.until_delivered(1)
    assert wired.calls() == [["a", "b"]]


def test_a_latest_processes_new_records_and_a_second_worker_those_that_the_first_left(wired):
    wired.put("old")
    with wired.source(fine, starting_position="LATEST", poll_interval_s=1000.0):
        pass  # ends before it read anything
    wired.put("new")
    with wired.source(fine, starting_position="LATEST"):
        wired.until_delivered(1)
    assert wired.calls() == [["new"]]


def test_a_at_timestamp_begins_at_that_time(wired):
    wired.put("before")
    time.sleep(1.1)  # the embedded cloud's arrival times are of whole milliseconds; AWS's, too
    at = time.time()
    wired.put("after")
    with wired.source(fine, starting_position="AT_TIMESTAMP", starting_position_timestamp=at - 0.5):
        wired.until_delivered(1)
    assert wired.calls() == [["after"]]


# Failures


def test_k_a_failed_batch_is_retried_until_it_succeeds(wired):
    """K: "If your function returns an error, Lambda retries the batch until processing succeeds or the data expires"."""
    wired.put("a", "b")
    with wired.source(raising(times=4)):
        wired.until_delivered(5)
    assert wired.calls() == [["a", "b"]] * 5 and wired.discards == []
    assert [delivery.failure for delivery in wired.deliveries] == ["ValueError: the store is away"] * 4 + [""]


def test_k_it_stops_processing_additional_records_in_a_shard_meanwhile(wired):
    """K: "It stops processing additional records in a shard if your function returns an error"."""
    wired.put("a")
    with wired.source(raising("a", times=3)):
        wired.until_delivered(1)
        wired.put("b")
        wired.until_delivered(5)
    assert wired.calls() == [["a"]] * 4 + [["b"]]


def test_a_records_are_discarded_after_the_specified_number_of_retries(wired):
    """A: "MaximumRetryAttempts – Discard records after the specified number of retries"."""
    wired.put("a", "b", "c")
    with wired.source(raising("a"), maximum_retry_attempts=2):
        wired.until_delivered(3)
        wired.put("d")
        wired.until_delivered(4)
    assert wired.calls() == [["a", "b", "c"]] * 3 + [["d"]]
    assert discarded(wired) == [(["a", "b", "c"], Condition.RETRIES, 3)]
    assert wired.discards[0][2] == "ValueError: the store is away"


def test_k_splitting_a_batch_does_not_count_towards_the_retry_quota(wired):
    wired.put(*"abcdefgh")
    with wired.source(raising("f"), maximum_retry_attempts=1, bisect_batch_on_function_error=True):
        wired.until_delivered(8)
    assert ["".join(call) for call in wired.calls()] == ["abcdefgh", "abcd", "efgh", "ef", "e", "f", "f", "gh"]
    assert discarded(wired) == [(["f"], Condition.RETRIES, 5)]


def test_f_a_call_that_is_throttled_is_no_attempt(wired, until):
    """F: "unable to invoke the function due to throttling …, it retries until the records expire or exceed the maximum age"."""
    left = [5]

    def invoke(event: dict) -> dict:
        left[0] -= 1
        if left[0] >= 0:
            raise FunctionNotReached("TooManyRequestsException: Rate Exceeded")
        raise FunctionFailed("ValueError: bad")

    wired.put("a")
    with wired.source(fine, invoker=invoke, maximum_retry_attempts=1):
        until(lambda: wired.discards, "it was given up")
    assert left == [-2] and discarded(wired) == [(["a"], Condition.RETRIES, 2)]


# Partial batch responses


def test_p_the_lowest_sequence_number_is_the_checkpoint(wired):
    """P: "Lambda uses the record with the lowest sequence number as the checkpoint … retries all records starting from" it."""
    wired.put(*"abcd")
    with wired.source(reporting("b", "d"), report_batch_item_failures=True, maximum_retry_attempts=1):
        wired.until_delivered(2)
    assert ["".join(call) for call in wired.calls()] == ["abcd", "bcd"]
    assert discarded(wired) == [(["b", "c", "d"], Condition.RETRIES, 2)]


def test_p_responses_are_not_processed_unless_the_mapping_asks_for_them(wired):
    wired.put("a", "b")
    with wired.source(reporting("a")):
        wired.until_delivered(1)
        wired.put("c")
        wired.until_delivered(2)
    assert wired.calls() == [["a", "b"], ["c"]] and wired.discards == []


def test_p_with_bisect_the_batch_is_split_at_the_returned_number(wired):
    """P: "the batch is bisected at the returned sequence number and Lambda retries only the remaining records"."""
    rules = {"report_batch_item_failures": True, "bisect_batch_on_function_error": True, "maximum_retry_attempts": 0}
    wired.put(*"abcd")
    with wired.source(reporting("c"), **rules):
        wired.until_delivered(4)
    assert ["".join(call) for call in wired.calls()] == ["abcd", "cd", "c", "d"]
    assert discarded(wired) == [(["c"], Condition.RETRIES, 3)]


@pytest.mark.parametrize(
    "failure", [{"itemIdentifier": ""}, {"itemIdentifier": None}, {"bad": "key"}, {"itemIdentifier": "12345"}]
)
def test_p_an_identifier_that_is_empty_null_misnamed_or_unknown_fails_the_whole_batch(wired, failure):
    wired.put("a", "b")
    function = {"batchItemFailures": [failure]}
    with wired.source(lambda event: function, report_batch_item_failures=True, maximum_retry_attempts=1):
        wired.until_delivered(2)
    assert wired.calls() == [["a", "b"]] * 2 and discarded(wired) == [(["a", "b"], Condition.RETRIES, 2)]


# Parallelization


def test_k_batches_of_a_shard_run_at_once_and_each_partition_keys_order_holds(wired, until):
    """A: "ParallelizationFactor – The number of batches to process from each shard concurrently"; K: order is kept per key."""
    running, most, lock, seen = set(), [0], threading.Lock(), collections.defaultdict(list)

    def function(event: dict) -> dict:
        keys = {record["kinesis"]["partitionKey"] for record in event["Records"]}
        with lock:
            assert not keys & running, "a key is in two batches at once"
            running.update(keys)
            most[0] = max(most[0], len(running))
        time.sleep(0.01)
        with lock:
            running.difference_update(keys)
            for record, text in zip(event["Records"], texts(event), strict=True):
                seen[record["kinesis"]["partitionKey"]].append(int(text))
        return {}

    for number in range(200):
        wired.put(str(number), key=f"user-{number % 20}")
    with wired.source(function, parallelization_factor=4, batch_size=5):
        until(lambda: sum(map(len, seen.values())) == 200, "all records were delivered")
    assert seen == {f"user-{key}": list(range(key, 200, 20)) for key in range(20)}
    assert most[0] > 1
    assert wired.checkpoint() == wired.contents()[wired.deliveries[0].shard_id][-1]["SequenceNumber"]


def test_k_without_it_one_batch_of_a_shard_runs_at_a_time(wired, until):
    running, most = [0], [0]

    def function(event: dict) -> dict:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.005)
        running[0] -= 1
        return {}

    for number in range(30):
        wired.put(str(number), key=str(number))
    with wired.source(function, batch_size=3):
        until(lambda: sum(map(len, wired.calls())) == 30, "all records were delivered")
    assert most == [1]


def test_a_failing_key_group_does_not_hold_up_the_others(wired, until):
    for number in range(40):
        wired.put(f"{number % 20}", key=f"user-{number % 20}")
    with wired.source(raising("0"), parallelization_factor=10, batch_size=100):
        until(lambda: sum(len(delivery.settled) for delivery in wired.deliveries) >= 30, "the others went on")
    assert wired.checkpoint() is None  # the first record of all is not dealt with: the next worker begins with it


# Filters


def test_a_what_does_not_match_a_filter_is_discarded_without_a_call(wired):
    """M: records that match no pattern are not sent to the function; they count as processed."""
    wired.put('{"kind": "click"}', '{"kind": "view"}', "no JSON", '{"kind": "click"}')
    with wired.source(fine, filters=('{"data": {"kind": ["click"]}}',)):
        wired.until_delivered(1)
        wired.put('{"kind": "view"}')
        last = wired.put('{"kind": "view"}')[0]
        time.sleep(0.2)
    assert wired.calls() == [['{"kind": "click"}'] * 2] and wired.discards == []
    assert wired.checkpoint() == last


# Tumbling windows


def test_w_a_windows_calls_share_a_state_and_its_last_call_says_so(wired, until):
    """W: "Each invocation receives a state"; "isFinalInvokeForWindow is set to true"; then "the state is dropped"."""
    events = []

    def function(event: dict) -> dict:
        events.append(event)
        return {"state": {"count": event["state"].get("count", 0) + len(event["Records"])}}

    with wired.source(function, tumbling_window_in_seconds=1, batch_size=2):
        wired.put("a", "b", "c")
        until(lambda: any(event["isFinalInvokeForWindow"] for event in events), "the first window ended")
        wired.put("d")
        until(lambda: sum(event["isFinalInvokeForWindow"] for event in events) >= 2, "the second ended")
    counted = [event["state"]["count"] for event in events if event["isFinalInvokeForWindow"]]
    assert sum(counted) == 4 and counted[-1] == 1
    first = [event for event in events if event["window"] == events[0]["window"]]
    assert [len(event["Records"]) for event in first if not event["isFinalInvokeForWindow"]][:1] == [2]
    assert first[0]["state"] == {} and first[-1]["isFinalInvokeForWindow"] and first[-1]["Records"] == []
    assert not any(event["isWindowTerminatedEarly"] for event in events)
    assert {event["shardId"] for event in events} == set(wired.contents())
    assert {event["eventSourceARN"] for event in events} == {wired.arn}


def test_w_what_a_worker_that_takes_over_finds_is_the_whole_open_window(wired):
    """Until its final call has succeeded a window is behind no checkpoint, because its state is not kept anywhere."""
    wired.put("a", "b")
    with wired.source(lambda event: {"state": {}}, tumbling_window_in_seconds=900):
        wired.until_delivered(1)
    assert wired.checkpoint() is None
    with wired.source(lambda event: {"state": {}}, tumbling_window_in_seconds=900):
        wired.until_delivered(2)
    assert wired.calls() == [["a", "b"]] * 2


def test_w_a_state_of_more_than_1_mb_ends_the_window_early(wired, until):
    """W: "Your state can be a maximum of 1 MB per shard. If it exceeds that size, Lambda terminates the window early"."""
    events = []

    def function(event: dict) -> dict:
        events.append(event)
        return {"state": {"text": "x" * 1_100_000} if event["Records"] and texts(event) == ["large"] else {}}

    with wired.source(function, tumbling_window_in_seconds=900):
        wired.put("large")
        until(lambda: len(events) == 2, "the window ended")
        wired.put("next")
        until(lambda: len(events) == 3, "another began")
    assert [(event["isFinalInvokeForWindow"], event["isWindowTerminatedEarly"]) for event in events] == [
        (False, False),
        (True, True),
        (False, False),
    ]
    assert events[2]["state"] == {} and events[2]["window"] == events[0]["window"]


def test_w_if_the_final_call_fails_processing_is_suspended_until_it_succeeds(wired, until):
    """W: "If invocation is unsuccessful, your Lambda function suspends further processing until a successful invocation"."""
    events, left = [], [2]

    def function(event: dict) -> dict:
        events.append(event)
        if event["isFinalInvokeForWindow"] and left[0]:
            left[0] -= 1
            raise ValueError("no")
        return {"state": {}}

    with wired.source(function, tumbling_window_in_seconds=1):
        wired.put("a")
        until(lambda: any(event["isFinalInvokeForWindow"] for event in events), "the window ends")
        wired.put("b")
        until(lambda: "b" in [text for event in events for text in texts(event)], "the next was processed")
    finals = [place for place, event in enumerate(events) if event["isFinalInvokeForWindow"]]
    assert finals[:3] == [1, 2, 3] and texts(events[4]) == ["b"]
