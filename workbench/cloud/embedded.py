"""The embedded cloud: MiniStack in a child process, on loopback, in memory, gone with its owner.

``python -m workbench.cloud.embedded [--port N]`` announces its URL once it answers. All that it writes is in one private
folder on which it holds a lock. A folder that nobody has locked was left by a process that was killed; the next start removes it.
"""

import argparse
import fcntl
import gc
import importlib.util
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import uvloop

from workbench.cloud import resharding
from workbench.errors import ServiceError
from workbench.process import LOOPBACK, Child, announce, end_with_owner, listen

_FOLDER = "workbench-cloud-"
_START_S = 30.0
_KEEP_ALIVE_S = 3600  # longer than any client pauses: a connection closed under a client costs a retry
# Functions run as this process's children and inherit its environment. They must see no more of the user's than on AWS.
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def start(*, log: Path, port: int = 0) -> Child:
    """Start an embedded cloud. Its ``wait_ready()`` gives the URL, its ``stop()`` ends it and all that it started.

    Args:
        log: file that its output is appended to.
        port: loopback port; 0 takes a free one.
    """
    return Child("the embedded cloud", "workbench.cloud.embedded", ["--port", str(port)], log=log)


def main(argv: list[str] | None = None) -> None:
    """Serve until the owner ends or SIGTERM comes.

    Raises:
        ServiceError: the port is taken, or MiniStack is not installed.
    """
    parser = argparse.ArgumentParser(prog="python -m workbench.cloud.embedded", description="An AWS emulator on loopback.")
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: a free one)")
    port = parser.parse_args(argv).port
    if importlib.util.find_spec("ministack") is None:
        raise ServiceError("MiniStack is not installed: pip install ministack==1.5.33")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # an exception, so that what follows is undone in order
    end_with_owner()
    sock = listen(port)  # first of all: a free port that is bound cannot be lost to another process
    _sweep()
    folder, lock = _private_folder()
    try:
        _confine(folder, sock.getsockname()[1])
        uvloop.run(_serve(sock))
    except SystemExit:
        pass
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


async def _serve(sock: socket.socket) -> None:
    # MiniStack reads its environment when it is imported.
    import uvicorn
    from ministack.app import app
    from ministack.core import lambda_runtime
    from ministack.services import kinesis

    resharding.install(kinesis)
    _spare_scans(kinesis)
    gc.freeze()  # what is imported stays: no collection needs to look at it again
    gc.set_threshold(50_000, 20, 100)  # a full collection stops the emulator for 0.1 s: rarely, not twice a second
    # MiniStack's own entry point cannot take a bound socket. uvicorn can, and answers each call 0.5 to 1 ms sooner; on uvloop
    # a call takes another 0.1 to 0.3 ms less.
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
    )
    url = f"http://{LOOPBACK}:{sock.getsockname()[1]}"
    threading.Thread(target=_announce_when_ready, args=(url,), name="readiness", daemon=True).start()
    try:
        await uvicorn.Server(config).serve(sockets=[sock])
    finally:
        lambda_runtime.reset()  # MiniStack leaves its workers to notice that it is gone, which one in a handler does late


def _spare_scans(kinesis: ModuleType) -> None:
    """Let MiniStack's Kinesis look for expired records and iterators once a second, not on every call.

    Each look scans all of them: after 20 s of two polled shards that is most of a call's time. Nothing else changes; an
    expired iterator is still refused, because GetRecords checks the one that it is given.
    """
    kinesis._expire_iterators = _once_a_second(kinesis._expire_iterators)
    kinesis._expire_records = _once_a_second(kinesis._expire_records)


def _once_a_second(scan: Callable[..., None]) -> Callable[..., None]:
    next_look: dict[int, float] = {}

    def look(*stream: dict) -> None:
        now, key = time.monotonic(), id(stream[0]) if stream else 0
        if now >= next_look.get(key, 0.0):
            next_look[key] = now + 1.0
            scan(*stream)

    return look


def _announce_when_ready(url: str) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/_ministack/health", timeout=_START_S):
                announce(url)
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.02)
    print(f"no answer on {url} within {_START_S:.0f} s", file=sys.stderr)
    os.kill(os.getpid(), signal.SIGTERM)


def _confine(folder: Path, port: int) -> None:
    """An environment in which MiniStack stays on loopback, in memory, in its folder, and away from Docker."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    os.environ.clear()
    os.environ.update(
        kept,
        BIND_HOST=LOOPBACK,
        MINISTACK_HOST=LOOPBACK,  # the host of the URLs it hands out (queues), so that no name is ever resolved
        GATEWAY_PORT=str(port),
        LOG_LEVEL="WARNING",
        TMPDIR=str(folder),
        STATE_DIR=str(folder / "state"),
        S3_DATA_DIR=str(folder / "s3"),
        PERSIST_STATE="0",
        S3_PERSIST="0",
        LAMBDA_EXECUTOR="local",
        DOCKER_HOST=f"unix://{folder}/no-docker.sock",
        IOT_MTLS_ENABLED="0",  # would listen on 8883
        SFTP_ENABLED="0",
    )
    tempfile.tempdir = None  # forget the folder that was looked up before


def _private_folder() -> tuple[Path, int]:
    """A new folder and the descriptor that holds its lock until this process ends, however it ends."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
        try:
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except FileNotFoundError:
            continue  # swept by another start before it was locked
        if folder.exists():
            return folder, lock
        os.close(lock)


def _sweep() -> None:
    """Remove the folders whose process is gone. Another user's cannot be opened and are left."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        try:
            lock = os.open(folder, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except BlockingIOError:
            pass  # its process lives
        finally:
            os.close(lock)


if __name__ == "__main__":
    try:
        main()
    except ServiceError as error:
        sys.exit(str(error))
    sys.stderr.flush()
    os._exit(0)  # threads of MiniStack may still wait for a function that was killed: nothing is left to wait for
