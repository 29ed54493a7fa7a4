"""The local servers as a user sees them: start or join them, know where they answer, let them go.

``with services() as running: …`` joins servers that run already, else starts them; they end with their last user.
"""

import contextlib
import fcntl
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

from workbench import places
from workbench.errors import ServiceError
from workbench.process import LOOPBACK
from workbench.settings import Endpoints

_ANSWER_S = 10.0


class Services:
    """Servers that run while this object is open. ``started`` says whether they had to be started for it."""

    def __init__(self, connection: socket.socket, state: dict, *, started: bool) -> None:
        self._connection, self.started = connection, started
        self.endpoints = Endpoints(**state["endpoints"])
        self.pids: dict[str, int] = {server["name"]: server["pid"] for server in state["servers"]}

    def check(self) -> None:
        """
        Raises:
            ServiceError: a server ended; one line says which, and its last words.
        """
        state = status()
        if state is None:
            raise ServiceError("the local servers ended")
        if state["ended"]:
            raise ServiceError("; ".join(state["ended"]))

    def close(self) -> None:
        """Give the lease back. If it was the last, the servers end."""
        self._connection.close()

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def services(cloud: str = "embedded") -> Services:
    """Join the running servers of this cloud, or start them.

    Raises:
        ServiceError: they cannot be started, or servers of another cloud run.
    """
    if cloud == "aws":
        return _aws()
    with _only_one_starts():
        if running := status():
            _same_cloud(running, cloud)
            if running["ended"]:  # half of them is no use to anybody
                stop()
                running = None
        if not running:
            _start(cloud)
        connection, state = _ask("lease")
    return Services(connection, state, started=not running)


def status() -> dict | None:
    """The supervisor's state; None if nothing runs."""
    try:
        connection, state = _ask("status")
    except ServiceError:
        return None
    connection.close()
    return state


def hold(cloud: str = "embedded") -> dict:
    """Start or join the servers and keep them until ``stop``; returns the state."""
    with services(cloud):
        connection, state = _ask("hold")
        connection.close()
    return state


def stop() -> bool:
    """End the servers, whoever uses them; returns whether any ran. They are gone when this returns."""
    state = status()
    if state is None:
        return False
    with contextlib.suppress(ServiceError):
        connection, _ = _ask("stop")
        connection.close()
    _await_end(state["pid"])
    return True


def _aws() -> Services:
    raise ServiceError("cloud 'aws': deploying to AWS is not built yet; use embedded or localstack")


def _same_cloud(running: dict, cloud: str) -> None:
    if running["endpoints"]["cloud"] != cloud:
        raise ServiceError(f"servers for cloud {running['endpoints']['cloud']!r} run already; `workbench down` ends them")


def _start(cloud: str) -> None:
    logs = places.state() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    places.services_file().unlink(missing_ok=True)  # of a supervisor that was killed
    with (logs / "supervisor.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench.supervisor", "--cloud", cloud],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=places.ROOT,
            start_new_session=True,
        )
    threading.Thread(target=process.wait, name="supervisor-reaper", daemon=True).start()  # whenever it ends: no zombie stays
    try:
        line = process.stdout.readline()
    except BaseException:  # Ctrl-C while they start
        process.terminate()
        raise
    finally:
        process.stdout.close()
    answer = json.loads(line) if line else {"error": f"the supervisor did not start (log: {logs / 'supervisor.log'})"}
    if "error" in answer:
        process.wait()
        raise ServiceError(answer["error"])


def _ask(op: str) -> tuple[socket.socket, dict]:
    with contextlib.ExitStack() as if_refused:
        try:
            address = json.loads(places.services_file().read_text())
            connection = socket.create_connection((LOOPBACK, address["port"]), timeout=_ANSWER_S)
            if_refused.callback(connection.close)
            connection.sendall(json.dumps({"token": address["token"], "op": op}).encode() + b"\n")
            with connection.makefile() as answers:
                answer = json.loads(answers.readline())
        except (OSError, ValueError, KeyError, TypeError):  # no file, or one of a supervisor that is no more
            raise ServiceError("the local servers do not run") from None
        if "error" in answer:
            raise ServiceError(answer["error"])
        if_refused.pop_all()
    return connection, answer["state"]


@contextlib.contextmanager
def _only_one_starts() -> Iterator[None]:
    """Two notebooks that open at once must not start two clouds."""
    places.state().mkdir(parents=True, exist_ok=True)
    with (places.state() / "start.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _await_end(pid: int) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(30)
