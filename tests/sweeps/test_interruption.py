"""However a sweep is ended, what is saved stays, nothing is half-written, no process is left, and no point is repeated."""

import os
import re
import signal

import pytest

from workbench import places, results, tasks
from workbench.settings import Settings
from workbench.sweeps import sweep

_SWEEP = """
from workbench import tasks
from workbench.settings import Settings
from workbench.sweeps import sweep
tasks.TASKS["probe"] = tasks.Task({function!r}, alone={alone})
sweep([Settings(rate=rate) for rate in (2.0, 3.0, 5.0)], name="cut", task="probe", repeats=1)
"""


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_ended_in_mid_point_goes_on_where_it_was(probe, machine, until, monkeypatch, signal_number, alone):
    for rate in (2, 3, 5):
        probe.behave(rate, probe.only_the_first_ends)
    code = _SWEEP.format(function=probe.name, alone=alone)
    process = machine.start("-c", code, stdout=-1, stderr=-1)
    folder = places.results() / "cut"
    until(lambda: (probe.folder / "go").exists() and len(list(folder.glob("*.parquet"))) == 1, "one is done, another runs", 60.0)
    process.send_signal(signal_number)
    _, err = process.communicate(timeout=30)
    until(lambda: machine.processes() == [], "nothing is left")
    if signal_number == signal.SIGINT:
        assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert "distributed." not in err.partition("Traceback")[0]  # Dask's log
    files = sorted(path.name for path in folder.iterdir())
    assert len(files) == 2 and files[1] == "sweep.json"
    begun = len(probe.ran())
    done = results.read(folder / files[0])[0].settings["rate"]
    for rate in (2, 3, 5):
        probe.behave(rate, "")
    monkeypatch.setitem(tasks.TASKS, "probe", tasks.Task(probe.name, alone=alone))
    made = sweep([Settings(rate=rate) for rate in (2.0, 3.0, 5.0)], name="cut", task="probe", repeats=1)
    assert sorted(rate for _, rate, _ in probe.ran()[begun:]) == sorted({2.0, 3.0, 5.0} - {done})
    assert sorted(results.load(made).p50_ms) == [14.0, 21.0, 35.0]


def test_a_second_process_is_told_the_first_ones_number(probe, machine, until):
    probe.behave(2, "(FOLDER / 'go').touch()\ntime.sleep(600)")
    code = f"""
from workbench.settings import Settings
from workbench.sweeps import sweep
sweep([Settings(rate=2.0)], name="two", task={probe.name!r}, repeats=1)
"""
    first = machine.start("-c", code, stderr=-3)
    until(lambda: (probe.folder / "go").exists(), "the first is in mid-point", 60.0)
    second = machine.start("-c", code, stderr=-1)
    _, err = second.communicate(timeout=30)
    assert re.search(rf"ResultError: \S+/two is being filled by another sweep, process {first.pid}: ", err.splitlines()[-1])
    os.kill(first.pid, signal.SIGTERM)
    first.wait(30)
    until(lambda: machine.processes() == [], "nothing is left")
