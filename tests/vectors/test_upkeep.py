"""Work beside reads and writes: in order, one at a time, and over when the store is."""

import logging
import subprocess
import sys
import threading

import pytest

from workbench.errors import ServiceError, VectorError
from workbench.vectors.upkeep import Upkeep


@pytest.fixture
def upkeep():
    made = Upkeep()
    yield made
    made.close()


def test_jobs_are_done_in_order_one_at_a_time_on_one_thread(upkeep):
    done, running = [], []

    def job(number):
        def work(stopping):
            running.append(number)
            assert running == [number] and not stopping()
            running.remove(number)
            done.append((number, threading.current_thread().name))

        return work

    for number in range(20):
        upkeep.submit(job(number))
    upkeep.wait(10)
    assert done == [(number, "vector-upkeep") for number in range(20)]
    assert len(upkeep) == 0


def test_the_thread_ends_with_the_work_and_starts_again(upkeep):
    threads = []
    for _ in range(2):
        upkeep.submit(lambda stopping: threads.append(threading.current_thread()))
        upkeep.wait(10)
        threads[-1].join(10)
        assert not threads[-1].is_alive()
    assert threads[0] is not threads[1]


def test_a_job_may_ask_for_another(upkeep):
    done = []
    upkeep.submit(lambda stopping: upkeep.submit(lambda stopping: done.append(2)) or done.append(1))
    upkeep.wait(10)
    assert done == [1, 2]


@pytest.mark.parametrize(
    ("error", "trace"),
    [(VectorError("the disk is full"), False), (OSError(28, "No space left"), False), (KeyError("a bug"), True)],
)
def test_a_job_that_fails_is_logged_and_the_next_is_done(upkeep, caplog, error, trace):
    done = []

    def fail(stopping):
        raise error

    upkeep.submit(fail)
    upkeep.submit(lambda stopping: done.append(1))
    upkeep.wait(10)
    assert done == [1]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and str(error) in record.getMessage()
    assert bool(record.exc_info) == trace  # what is to be expected takes a line, a bug says where it is


def test_waiting_has_an_end(upkeep):
    blocked = threading.Event()
    upkeep.submit(lambda stopping: blocked.wait(20))
    with pytest.raises(ServiceError, match="still being built after"):
        upkeep.wait(0.02)
    assert len(upkeep) == 1
    blocked.set()
    upkeep.wait(20)


def test_closing_stops_the_job_under_way_and_forgets_the_others(upkeep):
    begun, done = threading.Event(), []

    def long(stopping):
        begun.set()
        while not stopping():
            pass
        done.append("stopped")

    upkeep.submit(long)
    upkeep.submit(lambda stopping: done.append("the next"))
    begun.wait(10)
    upkeep.close()
    upkeep.submit(lambda stopping: done.append("later"))
    upkeep.wait(1)
    upkeep.close()
    assert done == ["stopped"] and len(upkeep) == 0


def test_a_process_ends_though_a_job_is_under_way():
    program = (
        "import threading\n"
        "from workbench.vectors.upkeep import Upkeep\n"
        "begun = threading.Event()\n"
        "def job(stopping):\n"
        "    begun.set()\n"
        "    while not stopping(): threading.Event().wait(0.01)\n"
        "Upkeep().submit(job)\n"
        "begun.wait()\n"
        "print('over')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")
