"""The rules of a batch, each by its source, and random batches against a model of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.stream.batch import Batch, Condition
from workbench.stream.mapping import EventSourceMapping

from .made import numbers, record


def batch_of(count: int, **rules) -> Batch:
    return Batch([record(number) for number in range(count)], EventSourceMapping(**rules))


def reporting(*bad: int) -> dict:
    return {"batchItemFailures": [{"itemIdentifier": str(number)} for number in bad]}


def run(batch: Batch, function, *, most: int = 1_000) -> tuple[list[list[int]], list[int], list[tuple]]:
    """Call ``function`` (numbers → answer, or an exception) until all is settled: calls, settled in order, discarded."""
    calls, settled, discarded = [], [], []
    while part := batch.next():
        assert len(calls) < most
        calls.append(numbers(part.records))
        try:
            come = batch.answered(function(calls[-1]))
        except ValueError:
            come = batch.failed()
        settled += numbers(come.records)
        if come.discarded:
            discarded.append((numbers(come.discarded.records), come.discarded.condition, come.discarded.invocations))
    return calls, settled, discarded


def failing(*bad: int):
    def function(given: list[int]) -> dict:
        if set(bad) & set(given):
            raise ValueError
        return {}

    return function


# "If your function returns an error, Lambda retries the batch until processing succeeds or the data expires."


def test_a_failed_batch_is_tried_again_whole():
    left = [3]

    def function(given):
        left[0] -= 1
        if left[0]:
            raise ValueError
        return

    assert run(batch_of(3), function) == ([[0, 1, 2]] * 3, [0, 1, 2], [])


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_after_its_retries_a_batch_is_discarded_whole(retries):
    calls, settled, discarded = run(batch_of(2, maximum_retry_attempts=retries), failing(1))
    assert calls == [[0, 1]] * (1 + retries) and settled == [0, 1]
    assert discarded == [([0, 1], Condition.RETRIES, 1 + retries)]


def test_without_a_limit_it_is_tried_for_ever():
    batch = batch_of(2)
    for _ in range(10_001):
        assert batch.failed().records == []
    assert numbers(batch.next().records) == [0, 1]


# "Splitting a batch does not count towards the retry quota."


def test_bisecting_isolates_a_bad_record_and_uses_no_retries():
    calls, settled, discarded = run(batch_of(8, bisect_batch_on_function_error=True, maximum_retry_attempts=2), failing(5))
    assert calls == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [5], [5], [6, 7]]
    assert settled == [*range(8)] and discarded == [([5], Condition.RETRIES, 6)]


def test_halves_are_tried_in_order_and_the_first_is_the_larger():
    calls, settled, _ = run(batch_of(5, bisect_batch_on_function_error=True, maximum_retry_attempts=0), failing(0, 4))
    assert calls == [[0, 1, 2, 3, 4], [0, 1, 2], [0, 1], [0], [1], [2], [3, 4], [3], [4]]
    assert settled == [0, 1, 2, 3, 4]


# Partial batch responses


def test_a_report_counts_only_where_the_mapping_asks_for_it():
    assert run(batch_of(3), lambda given: reporting(1)) == ([[0, 1, 2]], [0, 1, 2], [])


def test_the_lowest_number_reported_is_the_checkpoint_and_all_behind_it_is_tried_again():
    answers = iter([reporting(3, 1), reporting(3), {}])
    calls, settled, _ = run(batch_of(5, report_batch_item_failures=True), lambda given: next(answers))
    assert calls == [[0, 1, 2, 3, 4], [1, 2, 3, 4], [3, 4]] and settled == [0, 1, 2, 3, 4]


def test_numbers_are_compared_by_their_place_and_not_as_texts():
    answers = iter([reporting(9, 10), {}])
    calls, _, _ = run(batch_of(12, report_batch_item_failures=True), lambda given: next(answers))
    assert calls[1] == [9, 10, 11]


@pytest.mark.parametrize("answer", [None, {}, [], "", {"batchItemFailures": []}, {"batchItemFailures": None}, {"other": 1}])
def test_nothing_reported_is_a_complete_success(answer):
    assert run(batch_of(2, report_batch_item_failures=True), lambda given: answer) == ([[0, 1]], [0, 1], [])


@pytest.mark.parametrize(
    "failures",
    [
        [{"itemIdentifier": ""}],
        [{"itemIdentifier": None}],
        [{"id": "1"}],
        [{}],
        [{"itemIdentifier": "77"}],  # not in the batch
        [{"itemIdentifier": "1"}, {"itemIdentifier": ""}],
        [{"itemIdentifier": 1}],
        ["1"],
        "1",
        {"itemIdentifier": "1"},
        7,
    ],
)
def test_a_report_that_names_no_record_of_the_batch_is_a_complete_failure(failures):
    rules = {"report_batch_item_failures": True, "maximum_retry_attempts": 1}
    calls, _, discarded = run(batch_of(3, **rules), lambda given: {"batchItemFailures": failures})
    assert calls == [[0, 1, 2]] * 2 and discarded == [([0, 1, 2], Condition.RETRIES, 2)]


@pytest.mark.parametrize("answer", ["done", 7, True, ["1"]])
def test_an_answer_that_is_no_object_is_a_complete_failure(answer):
    batch = batch_of(2, report_batch_item_failures=True, maximum_retry_attempts=0)
    assert run(batch, lambda given: answer)[2] == [([0, 1], Condition.RETRIES, 1)]


def test_a_record_that_is_always_reported_takes_what_follows_it_into_the_discarded_batch():
    """Without bisecting, good records behind a bad one are lost with it."""
    calls, settled, discarded = run(
        batch_of(4, report_batch_item_failures=True, maximum_retry_attempts=2), lambda given: reporting(1) if 1 in given else {}
    )
    assert calls == [[0, 1, 2, 3], [1, 2, 3], [1, 2, 3]]
    assert settled == [0, 1, 2, 3] and discarded == [([1, 2, 3], Condition.RETRIES, 3)]


def test_bisecting_at_the_reported_number_uses_no_retry_and_then_isolates_it():
    rules = {"report_batch_item_failures": True, "bisect_batch_on_function_error": True, "maximum_retry_attempts": 1}
    calls, settled, discarded = run(batch_of(6, **rules), lambda given: reporting(2) if 2 in given else {})
    assert calls == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5], [2, 3], [2], [2], [3], [4, 5]]
    assert settled == [0, 1, 2, 3, 4, 5] and discarded == [([2], Condition.RETRIES, 5)]


# Age


def test_what_is_too_old_is_discarded_and_the_rest_goes_on():
    mapping = EventSourceMapping(maximum_record_age_in_seconds=60)
    batch = Batch([record(0, at_s=1_000.0), record(1, at_s=1_030.0), record(2, at_s=1_061.0)], mapping)
    assert batch.expired(1_060.0).records == []  # no more than the age
    assert batch.failed().records == []
    gone = batch.expired(1_095.0)
    assert numbers(gone.records) == [0, 1]
    assert (numbers(gone.discarded.records), gone.discarded.condition, gone.discarded.invocations) == ([0, 1], Condition.AGE, 1)
    assert numbers(batch.next().records) == [2]
    assert numbers(batch.expired(1_122.0).records) == [2] and batch.next() is None


def test_without_an_age_nothing_is_too_old():
    assert batch_of(1).expired(9e9).records == []


# Tumbling windows


@pytest.mark.parametrize("answer", [None, {}, {"state": None}, {"state": 7}, {"batchItemFailures": []}])
def test_with_windows_an_answer_without_a_state_is_a_failed_invocation(answer):
    batch = batch_of(1, tumbling_window_in_seconds=60, maximum_retry_attempts=0)
    assert run(batch, lambda given: answer)[2] == [([0], Condition.RETRIES, 1)]
    assert run(batch_of(1, tumbling_window_in_seconds=60), lambda given: {"state": {}})[2] == []


# All together


@given(
    count=st.integers(1, 24),
    bad=st.sets(st.integers(0, 23)),
    raising=st.booleans(),
    report=st.booleans(),
    bisect=st.booleans(),
    retries=st.integers(0, 3),
)
def test_every_record_is_settled_once_in_order_and_no_good_one_is_lost_where_bad_ones_are_isolated(
    count, bad, raising, report, bisect, retries
):
    bad = {number for number in bad if number < count}

    def function(given):
        found = [number for number in given if number in bad]
        if found and raising:
            raise ValueError
        return reporting(*found)

    rules = {"report_batch_item_failures": report, "bisect_batch_on_function_error": bisect, "maximum_retry_attempts": retries}
    calls, settled, discarded = run(batch_of(count, **rules), function)
    assert settled == [*range(count)]
    lost = {number for given, _, _ in discarded for number in given}
    noticed = bad if raising or report else set()
    assert noticed <= lost
    if bisect:
        assert lost == noticed
        assert all(sum(given == [number] for given in calls) == 1 + retries for number in noticed)
    elif noticed:
        first = 0 if raising else min(noticed)
        assert lost == set(range(first, count))
    assert all(given == sorted(given) and given == [*range(given[0], given[-1] + 1)] for given in calls)
