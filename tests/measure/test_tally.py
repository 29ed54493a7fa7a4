"""Hand-made deliveries, counted: what is tried again stays under way, what is answered, given up or refused does not."""

import threading

import pytest

from workbench.errors import EventRejected
from workbench.measure.tally import Tally
from workbench.stream.batch import Condition, Discarded
from workbench.stream.worker import Delivery


def _delivery(*numbers: int, reported=(), failure="", dead=(), answered_ns=0) -> Delivery:
    reports = [{"itemIdentifier": str(number)} for number in reported]
    answer = None if failure else {"batchItemFailures": reports}
    records = [{"SequenceNumber": str(number)} for number in numbers]
    open_still = set(numbers) if failure else set(reported)
    settled = frozenset(str(number) for number in numbers if number in dead or number not in open_still)
    return Delivery("shard", records, [0] * len(records), 0, answered_ns, answer, failure, settled)


@pytest.mark.parametrize(
    ("delivery", "left"),
    [
        (_delivery(0, 1, 2), 7),
        (_delivery(0, 1, 2, reported=(1,)), 8),  # it will be tried again
        (_delivery(0, 1, 2, failure="ValueError: away"), 10),  # all of them will
        (_delivery(1, reported=(1,), dead=(1,)), 9),  # given up
        (_delivery(0, 1, 2, reported=(0, 1), dead=(0, 1)), 7),
        (_delivery(0, 1, 2, failure="ValueError: away", dead=(0, 1, 2)), 7),
        (_delivery(), 10),
    ],
)
def test_what_a_delivery_settles(delivery, left):
    tally = Tally(10)
    tally.delivered(delivery)
    assert tally.wait(0) == left


def test_what_became_too_old_is_settled():
    tally = Tally(5)
    tally.expired("shard", Discarded([{"SequenceNumber": "1"}, {"SequenceNumber": "2"}], Condition.AGE, 1))
    assert tally.wait(0) == 3


def test_a_run_of_answers_retries_refusals_and_dead_letters_ends_at_nothing():
    tally = Tally(6)
    tally.sent(0, 1)
    tally.refused(5, EventRejected("5", "too large"))
    steps = [
        (_delivery(0, 1, reported=(1,)), 4),
        (_delivery(1, reported=(1,)), 4),
        (_delivery(1, reported=(1,), dead=(1,)), 3),
        (_delivery(2, 3, failure="ValueError: away"), 3),
        (_delivery(2, 3), 1),
        (_delivery(4), 0),
    ]
    for delivery, left in steps:
        tally.delivered(delivery)
        assert tally.wait(0) == left


def test_the_last_answer_is_the_latest_whatever_order_it_is_told_in():
    tally = Tally(3)
    for number, ns in enumerate((500, 900, 700)):
        tally.delivered(_delivery(number, answered_ns=ns))
    assert tally.last_ns == 900


def test_due_times_are_there_to_be_written():
    assert Tally(4).due_ns.tolist() == [0, 0, 0, 0] and Tally(4).due_ns.dtype == "int64"


def test_waiting_ends_when_something_is_settled():
    tally = Tally(2)
    timer = threading.Timer(0.05, tally.delivered, args=(_delivery(0),))
    timer.start()
    assert tally.wait(20) == 1
    timer.join()
    tally.delivered(_delivery(1))
    assert tally.wait(20) == 0  # nothing to wait for


def test_nothing_is_lost_when_many_threads_count():
    tally, threads_count, each = Tally(4000), 8, 500

    def deliver(first: int) -> None:
        for number in range(first, first + each):
            tally.delivered(_delivery(number, answered_ns=number))

    threads = [threading.Thread(target=deliver, args=(first * each,)) for first in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.wait(0) == 0 and tally.last_ns == 3999
