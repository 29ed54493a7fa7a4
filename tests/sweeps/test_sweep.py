"""A sweep: every point in a fresh process, interleaved, saved as it goes, never measured twice, failures included."""

import contextlib
import datetime
import os
import re

import pytest

from workbench import places, results, sweeps, tasks
from workbench.errors import ResultError, ServiceError, SettingError
from workbench.settings import Settings
from workbench.sweeps import sweep
from workbench.sweeps.folder import locked

_RATES = (2.0, 3.0, 5.0)


def _settings(*rates: float) -> list[Settings]:
    return [Settings(rate=rate) for rate in rates]


def _read(made: results.Sweep) -> list[results.Result]:
    return [results.read(made.folder / point.file)[0] for point in made.points]


def test_every_point_runs_once_in_a_fresh_process_interleaved_and_seeded_by_its_run(probe):
    began = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    made = sweep(_settings(*_RATES), name="all", task=probe.name, repeats=3)
    ran = probe.ran()
    assert len({pid for pid, _, _ in ran} | {os.getpid()}) == 10
    assert [seed for _, _, seed in ran] == [7] * 3 + [8] * 3 + [9] * 3  # run 0 of all settings, then run 1, …
    rounds = [tuple(rate for _, rate, _ in ran[start : start + 3]) for start in (0, 3, 6)]
    assert [sorted(each) for each in rounds] == [list(_RATES)] * 3 and len(set(rounds)) > 1  # shuffled anew each run
    assert made.folder == places.results() / "all" and made.smoke
    assert results.read_manifest(made.folder) == made
    for point, result in zip(made.points, _read(made), strict=True):
        assert point.settings == result.settings == Settings(rate=result.settings["rate"]).to_dict()  # the seed of the base
        assert (result.run, result.seed) == (point.run, 7 + point.run)
        assert result.figures == {"p50_ms": result.settings["rate"] * result.seed}
        assert (result.task, result.cloud, result.error) == (probe.name, "embedded", "")
        assert 0 < result.took_s < 60 and "python" in result.provenance
        assert began <= datetime.datetime.fromisoformat(result.started) <= datetime.datetime.now(datetime.UTC)
    frame = results.samples(made)
    assert sorted(frame.latency_ms) == sorted([*_RATES * 3, *[7.5, 8.5, 9.5] * 3])


def test_the_order_is_the_same_each_time(probe):
    from workbench.sweeps.identity import points

    once, again = (points(_settings(*range(1, 20)), 5, "c0ffee00") for _ in range(2))
    assert once == again
    assert len({tuple(point.settings["rate"] for point in once if point.run == run) for run in range(5)}) == 5


def test_what_has_a_result_is_not_measured_again(probe, capsys):
    first = sweep(_settings(2, 3), name="more", task=probe.name, repeats=1)
    kept = {point.file: (first.folder / point.file).stat().st_mtime_ns for point in first.points}
    assert capsys.readouterr().err == ""
    second = sweep(_settings(2, 3, 5), name="more", task=probe.name, repeats=2)
    assert capsys.readouterr().err == "more: 2 of 6 points were measured before\n"
    assert len(probe.ran()) == 6  # and not 8
    assert {name: (second.folder / name).stat().st_mtime_ns for name in kept} == kept
    assert len(results.load(second)) == 6
    sweep(_settings(2, 3, 5), name="more", task=probe.name, repeats=2)
    assert len(probe.ran()) == 6


def test_changed_code_is_measured_anew_and_old_files_stay(probe):
    first = sweep(_settings(2), name="code", task=probe.name, repeats=1)
    probe.write("# changed\n")
    second = sweep(_settings(2), name="code", task=probe.name, repeats=1)
    assert len(probe.ran()) == 2
    assert {first.points[0].file, second.points[0].file} < {path.name for path in second.folder.iterdir()}
    assert first.points[0].file != second.points[0].file
    probe.write()  # as it was: its results count again
    sweep(_settings(2), name="code", task=probe.name, repeats=1)
    assert len(probe.ran()) == 2


def test_code_that_changes_during_the_sweep_stops_it(probe):
    probe.behave(2, f"Path({str(probe.folder)!r}, 'probe_task.py').open('a').write('# changed')")
    with pytest.raises(ServiceError) as raised:
        sweep(_settings(2), name="changing", task=probe.name, repeats=2)
    assert re.fullmatch(
        r"the code is not what is to be measured: on \S+ it is [0-9a-f]{12}, the sweep began with [0-9a-f]{12}; "
        r"start the sweep again with the same code; 1 of 2 points are saved in .*/changing",
        str(raised.value),
    )


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        ("raise ValueError('first line\\nsecond')", "ValueError: first line"),
        ("raise ValueError", "ValueError: no message"),
        ("from workbench.errors import ModelError\nraise ModelError('no weights')", "ModelError: no weights"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "its process was ended by SIGKILL"),
        ("sys.stderr.write('last words\\n\\n')\nsys.stderr.flush()\nos._exit(3)", "its process ended with status 3: last words"),
        ("sys.exit('enough')", "its process ended with status 1: enough"),
        ("figures['speed'] = 1.0", "ResultError: figure 'speed' is not one of "),
        ("time.sleep(600)", "it took longer than 8 s and was ended"),
    ],
)
def test_a_point_that_fails_is_a_result(probe, machine, behaviour, error):
    probe.behave(2, behaviour)
    made = sweep(_settings(2, 3), name="failing", task=probe.name, repeats=1, timeout_s=8.0 if "sleep" in behaviour else 120.0)
    by_rate = {result.settings["rate"]: result for result in _read(made)}
    failed = by_rate[2.0]
    assert failed.error.startswith(error) and "\n" not in failed.error
    assert failed.figures == {} and (failed.run, failed.seed) == (0, 7) and failed.took_s > 0
    if "sleep" not in behaviour:  # on a busy machine the other point, too, may take longer than that
        assert by_rate[3.0].figures == {"p50_ms": 21.0}
    file = next(point.file for point in made.points if point.settings["rate"] == 2.0)
    log = (places.state() / "logs" / "points" / f"{file}.log").read_text()
    assert "sleep" in behaviour or "kill" in behaviour or "said" in log or "last words" in log
    assert machine.processes() == []
    sweep(_settings(2, 3), name="failing", task=probe.name, repeats=1)
    assert len(probe.ran()) == 2  # failed is measured


def test_what_a_point_started_ends_with_it(probe, machine, until):
    probe.behave(2, "import subprocess\nsubprocess.Popen(['sleep', '600'])")
    made = sweep(_settings(2), name="leaving", task=probe.name, repeats=1)
    assert _read(made)[0].figures == {"p50_ms": 14.0}
    until(lambda: machine.processes() == [], "it has ended")


def test_a_damaged_result_is_told_before_anything_is_measured(probe):
    made = sweep(_settings(2), name="damaged", task=probe.name, repeats=1)
    path = made.folder / made.points[0].file
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ResultError, match=re.escape(str(path))):
        sweep(_settings(2, 3), name="damaged", task=probe.name, repeats=1)
    assert len(probe.ran()) == 1
    path.unlink()
    sweep(_settings(2, 3), name="damaged", task=probe.name, repeats=1)
    assert len(probe.ran()) == 3


def test_a_full_disk_stops_the_sweep_which_says_what_is_saved(probe, monkeypatch):
    saved = []

    def save(data, path):
        if saved:
            raise ResultError(f"{path.name} cannot be written: No space left on device")
        saved.append(path)
        results.save(data, path)

    monkeypatch.setattr(sweeps, "save", save)
    with pytest.raises(ResultError, match=r"No space left on device; 1 of 3 points are saved in .*/full$"):
        sweep(_settings(*_RATES), name="full", task=probe.name, repeats=1)
    assert len(probe.ran()) == 2
    monkeypatch.undo()


def test_a_second_sweep_into_the_same_folder_is_told_who_fills_it(probe):
    folder = places.results() / "shared"
    said = rf"^{re.escape(str(folder))} is being filled by another sweep, process {os.getpid()}: "
    with locked(folder), pytest.raises(ResultError, match=said):
        sweep(_settings(2), name="shared", task=probe.name, repeats=1, fresh=True)
    assert probe.ran() == [] and [path.name for path in folder.parent.iterdir() if path.is_dir()] == ["shared"]
    sweep(_settings(2), name="shared", task=probe.name, repeats=1)


def test_fresh_sets_earlier_results_aside(probe):
    first = sweep(_settings(2), name="again", task=probe.name, repeats=1)
    sweep(_settings(2), name="again", task=probe.name, repeats=1, fresh=True)
    assert len(probe.ran()) == 2
    aside = [path for path in first.folder.parent.iterdir() if re.fullmatch(r"again\.\d{8}T\d{6}\.\d{6}Z", path.name)]
    assert len(aside) == 1
    assert len(results.load(aside[0])) == len(results.load("again")) == 1


def test_a_folder_of_ones_own(probe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    made = sweep(_settings(2), name="here", task=probe.name, repeats=1, folder=Path("mine"))
    assert made.folder == tmp_path / "mine" and len(results.load(made)) == 1


def test_a_draft_of_a_killed_sweep_is_removed(probe):
    folder = places.results() / "draft"
    folder.mkdir(parents=True)
    (folder / ".x.parquet.0123.draft").write_bytes(b"half")
    made = sweep(_settings(2), name="draft", task=probe.name, repeats=1)
    assert sorted(path.name for path in folder.iterdir()) == sorted(["sweep.json", made.points[0].file])


class _Servers:
    def __init__(self, fails: bool = False) -> None:
        self.fails, self.log = fails, []

    @contextlib.contextmanager
    def services(self, cloud):
        self.log.append(f"up {cloud}")
        yield self
        self.log.append("down")

    def check(self) -> None:
        self.log.append("check")
        if self.fails and self.log.count("check") == 2:
            raise ServiceError("the vector server ended: killed")


def _served(probe, monkeypatch, servers: _Servers) -> str:
    monkeypatch.setitem(tasks.TASKS, "served", tasks.Task(probe.name, alone=True, services=True))
    monkeypatch.setattr(sweeps, "services", servers.services)
    return "served"


def test_servers_are_up_from_the_first_point_to_the_last(probe, monkeypatch):
    servers = _Servers()
    task = _served(probe, monkeypatch, servers)
    sweep(_settings(2, 3), name="served", task=task, repeats=1, cloud="localstack")
    assert servers.log == ["up localstack", "check", "check", "down"]
    sweep(_settings(2, 3), name="served", task=task, repeats=1, cloud="localstack")
    assert len(servers.log) == 4  # nothing left to measure: none needed


def test_a_point_whose_servers_ended_is_not_kept(probe, monkeypatch):
    task = _served(probe, monkeypatch, _Servers(fails=True))
    with pytest.raises(ServiceError, match=r"^the vector server ended: killed; 1 of 3 points are saved in .*/ended$"):
        sweep(_settings(*_RATES), name="ended", task=task, repeats=1)
    assert len(list((places.results() / "ended").glob("*.parquet"))) == 1


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"settings": []}, r"settings = \[\] is not allowed: a sweep needs at least one"),
        ({"settings": [3]}, r"settings = 3 is not allowed: each must be a Settings, .*"),
        (
            {"settings": _settings(2, 5, 2)},
            r"settings = '[0-9a-f]{12}' is not allowed: each once, but those at 0 and 2 are equal: rate=2\.0",
        ),
        ({"repeats": 0}, r"repeats = 0 is not allowed: a whole number from 1 on; a published finding needs 5"),
        ({"repeats": True}, r"repeats = True is not allowed: .*"),
        ({"name": "../up"}, r"name = '\.\./up' is not allowed: .*"),
        ({"name": ""}, r"name = '' is not allowed: .*"),
        ({"timeout_s": 0}, r"timeout_s = 0 is not allowed: seconds, more than 0"),
        ({"timeout_s": float("nan")}, r"timeout_s = nan is not allowed: .*"),
        (
            {"task": "dance"},
            r"task = 'dance' is not allowed: one of pipeline, index, .*, or a function of your own as module:function",
        ),
        ({"task": "no_such_module_here:f"}, r"task = 'no_such_module_here:f' is not allowed: there is no module .*"),
        ({"task": "no_such.module_here:f"}, r"task = 'no_such.module_here:f' is not allowed: there is no module .*"),
        ({"task": "os path:f"}, r"task = 'os path:f' is not allowed: .*"),
        ({"scheduler": "tcp://127.0.0.1:1"}, r"scheduler = .* is not allowed: this task is measured alone, on this machine"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_made(probe, arguments, line):
    given = {"settings": _settings(2), "name": "wrong", "task": probe.name, "repeats": 1, **arguments}
    with pytest.raises(SettingError) as raised:
        sweep(given.pop("settings"), **given)
    assert re.fullmatch(line, str(raised.value))
    assert probe.ran() == [] and not places.results().exists()
