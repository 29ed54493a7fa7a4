"""One point in a process of its own, seen from its owner: fresh each time, and never outliving who started it."""

import contextlib
import datetime
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time

import msgspec

from workbench import places, results
from workbench.errors import ServiceError
from workbench.measure.provenance import provenance
from workbench.progress import TERMINAL

# How a point's process ends, besides 0 for a result:
FAILED = 85  # the result says why there are no figures
OTHER_CODE = 86  # the code is not what was to be measured; the output is its digest
_GRACE_S = 5.0  # for a process that was told to end

_lock = threading.Lock()  # guards the two below
_running: dict[str, set[subprocess.Popen]] = {}  # by sweep
_ended: set[str] = set()  # sweeps whose points must not start any more


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """All that a point's process is told. ``settings`` are the sweep's; the process adds ``run`` to their seed."""

    sweep: str  # which sweep asks: a name that no other has
    file: str  # the result's file: only names the log here
    task: str
    function: str  # "module:function" of the task
    code: str  # see ``identity.code``
    settings: dict
    run: int
    cloud: str
    timeout_s: float

    def result(self, *, started: str, took_s: float, figures: dict[str, float] | None = None, error: str = "") -> results.Result:
        """What the point showed, or why it showed nothing."""
        return results.Result(
            task=self.task,
            settings=self.settings,
            run=self.run,
            seed=self.settings["seed"] + self.run,
            cloud=self.cloud,
            figures=figures or {},
            error=error,
            started=started,
            took_s=took_s,
            provenance=provenance(),
        )


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def execute(request: Request) -> bytes:
    """Measure the point in a fresh process; gives what ``results.encode`` made of its result.

    A process that raises, dies or takes longer than ``timeout_s`` gives a result with an error; what it printed is then kept
    in ``logs/points`` of the state folder.

    Raises:
        ServiceError: the process cannot be started, the code is not the request's, or the sweep was ended meanwhile.
    """
    started, begun, late = now(), time.perf_counter(), threading.Event()
    with tempfile.TemporaryFile() as said:
        with _process(request, said) as process:
            timer = threading.Timer(request.timeout_s, lambda: (late.set(), _kill(process)))
            timer.start()
            try:
                data = process.stdout.read()
                process.wait()
            finally:
                timer.cancel()
        if process.returncode == OTHER_CODE:
            where = f"on {platform.node()} it is {data.decode(errors='replace')}, the sweep began with {request.code}"
            raise ServiceError(f"the code is not what is to be measured: {where}; start the sweep again with the same code")
        if process.returncode == 0:
            return data
        said.seek(0)
        words = said.read().decode(errors="replace")
    _keep(words, request)
    if process.returncode == FAILED:
        return data
    error = f"it took longer than {request.timeout_s:g} s and was ended" if late.is_set() else _end(process.returncode, words)
    return results.encode(request.result(started=started, took_s=time.perf_counter() - begun, error=error))


def end(sweep: str) -> None:
    """End what runs of this sweep in this process' charge, and start no more of it."""
    with _lock:
        _ended.add(sweep)
        running = list(_running.get(sweep, ()))
    for process in running:
        _kill(process)


@contextlib.contextmanager
def _process(request: Request, said):
    command = [sys.executable, "-X", "faulthandler", "-m", "workbench.sweeps.point", msgspec.json.encode(request).decode()]
    with _lock:  # so that ``end`` finds it, or it finds that the sweep was ended
        if request.sweep in _ended:
            raise ServiceError("the sweep was ended")
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # held open: its end is how the process learns of ours
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, TERMINAL: ""},
                start_new_session=True,  # a terminal's Ctrl-C reaches the owner only
            )
        except OSError as error:
            raise ServiceError(f"the process of a point cannot be started: {error.strerror}") from None
        _running.setdefault(request.sweep, set()).add(process)
    try:
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # a second Ctrl-C leaves nothing either
            _kill(process)  # also what it started itself
            process.stdout.close()
            with _lock:
                _running[request.sweep].discard(process)


def _kill(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _keep(words: str, request: Request) -> None:
    log = places.state() / "logs" / "points" / f"{request.file}.log"
    with contextlib.suppress(OSError):  # a log that cannot be written costs no result
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(words, encoding="utf-8")


def _end(status: int, words: str) -> str:
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    lines = [line.strip() for line in words.splitlines() if line.strip()] or ["it said nothing"]
    return f"its process ended with status {status}: {lines[-1]}"
