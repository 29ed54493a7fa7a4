"""Servers as child processes that can never outlive their owner.

The owner holds the write end of each child's standard input. However the owner ends (return, error, Ctrl-C, ``kill -9``),
the system closes that end, the child reads end-of-file and stops. Nothing depends on signal handlers or exit hooks.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from workbench.errors import ServiceError

LOOPBACK = "127.0.0.1"
_GRACE_S = 5.0
_KEEP_ALIVE_S = 75  # a client that pauses finds its connection as it left it


class Child:
    """``python -m MODULE ARGS…`` in a session of its own, its output appended to ``log``.

    The module calls ``announce(url)`` once it answers and ``end_with_owner()`` before anything else.
    """

    def __init__(self, name: str, module: str, args: Sequence[str] = (), *, log: Path, env: dict | None = None) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=out,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # a terminal's Ctrl-C reaches the owner only, which then ends its children in order
            )
        self.url: str | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float = 60.0) -> str:
        """The URL that the child announced.

        Raises:
            ServiceError: it ended or stayed silent; the message carries the last line of its log.
        """
        timer = threading.Timer(timeout_s, self.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self.stop()  # also closes its pipes
            raise ServiceError(f"{self.name} did not start: {self.last_words()} (log: {self.log})")
        self.url = json.loads(line)["url"]
        return self.url

    def last_words(self) -> str:
        """The last line of the log that is not blank."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"

    def stop(self) -> None:
        """Ask by closing its input, insist after a grace time. Returns when the process is gone."""
        self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.stdout.close()

    def kill(self) -> None:
        """SIGKILL to the child and everything that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def announce(url: str) -> None:
    """Tell the owner where this process answers (one JSON line on standard output)."""
    print(json.dumps({"url": url}), flush=True)


def end_with_owner() -> None:
    """Stop this process when its standard input ends: first as SIGTERM does, after a grace time at once."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        threading.Timer(_GRACE_S - 1, _end_group).start()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="owner-watch", daemon=True).start()


def _end_group() -> None:
    if os.getpgrp() == os.getpid():  # we lead a session of our own: take what we started with us
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def listen(port: int = 0) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    Raises:
        ServiceError: the port is taken.
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: asyncio sets TCP_NODELAY only then
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((LOOPBACK, port))
    except (OSError, OverflowError) as error:  # the latter: a port beyond 65,535
        sock.close()
        reason = getattr(error, "strerror", None) or error
        raise ServiceError(f"port {port} on {LOOPBACK} cannot be used: {reason}; choose another, or 0 for a free one") from None
    sock.listen(128)
    return sock


def serve_asgi(app, port: int = 0, *, say: Callable[[str], None] | None = None) -> None:
    """Run an ASGI application on loopback until SIGTERM or SIGINT, telling ``say`` its URL.

    Without ``say`` it is a child's: the owner is told, and its end ends the server.
    """
    import uvicorn

    sock = listen(port)
    if say is None:
        end_with_owner()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=2,
    )
    (say or announce)(f"http://{LOOPBACK}:{sock.getsockname()[1]}")
    uvicorn.Server(config).run(sockets=[sock])
