"""The embedded cloud ends with its owner, whatever ends the owner, and takes everything with it."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from workbench.cloud import embedded
from workbench.cloud.clients import client
from workbench.errors import ServiceError
from workbench.process import listen
from workbench.settings import Endpoints

_SLEEPER = "import time\ndef handler(event, context):\n    print('asleep')\n    time.sleep(event['s'])\n    return 'awake'\n"
# Starts a cloud, says which, and waits. It is what is killed.
_OWNER = """
import sys, time
from pathlib import Path
from workbench.cloud import embedded
cloud = embedded.start(log=Path(sys.argv[1]))
print(cloud.pid, cloud.wait_ready(), flush=True)
time.sleep(600)
"""


@pytest.fixture
def temp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of the test's own, in which the folders of other clouds are not."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def _until(met: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not met():
        assert time.monotonic() < deadline, f"still waiting until {what}"
        time.sleep(0.05)


def _ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def _busy_function(url: str, name: str, code_zip: bytes) -> None:
    """A function with a worker that is idle, and another in the middle of an invocation."""
    functions = client("lambda", Endpoints(cloud="embedded", aws_url=url))
    functions.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Handler="module.handler",
        Role="arn:aws:iam::000000000000:role/any",
        Timeout=300,
        Code={"ZipFile": code_zip},
    )
    assert json.loads(functions.invoke(FunctionName=name, Payload=b'{"s": 0}')["Payload"].read()) == "awake"
    functions.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"s": 300}')
    functions.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"s": 300}')


def _workers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children(recursive=True) if "_worker.py" in " ".join(child.cmdline())]


def test_it_announces_an_address_that_answers_and_listens_nowhere_else(temp, tmp_path):
    cloud = embedded.start(log=tmp_path / "log")
    try:
        url = cloud.wait_ready()
        assert client("sts", Endpoints(aws_url=url)).get_caller_identity()["Account"] == "000000000000"
        listening = [c.laddr for c in psutil.Process(cloud.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", int(url.rsplit(":", 1)[1]))]
        assert len(list(temp.iterdir())) == 1
    finally:
        cloud.stop()
    assert list(temp.iterdir()) == []


def test_stopping_it_ends_a_function_in_the_middle_of_an_invocation(temp, tmp_path, zipped):
    cloud = embedded.start(log=tmp_path / "log")
    try:
        _busy_function(cloud.wait_ready(), "sleeper", zipped({"module.py": _SLEEPER}))
        _until(lambda: len(_workers(cloud.pid)) == 2, "both workers run")
        workers = _workers(cloud.pid)
    finally:
        cloud.stop()
    _until(lambda: all(_ended(worker) for worker in workers), "the workers have ended")
    assert list(temp.iterdir()) == []


def test_killing_the_owner_leaves_no_process_and_no_folder(temp, tmp_path, zipped):
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    try:
        pid, url = owner.stdout.readline().split()
        cloud = psutil.Process(int(pid))
        _busy_function(url, "sleeper-of-a-killed-owner", zipped({"module.py": _SLEEPER}))
        _until(lambda: len(_workers(cloud.pid)) == 2, "both workers run")
        workers = _workers(cloud.pid)
        assert [folder.name.startswith("workbench-cloud-") for folder in temp.iterdir()] == [True]
    finally:
        owner.kill()
        owner.wait()
        owner.stdout.close()
    _until(lambda: _ended(cloud) and all(_ended(worker) for worker in workers), "cloud and workers have ended")
    assert list(temp.iterdir()) == []


def test_the_folder_of_a_killed_cloud_is_swept_by_the_next_and_a_living_ones_is_not(temp, tmp_path):
    killed, living = embedded.start(log=tmp_path / "a"), embedded.start(log=tmp_path / "b")
    try:
        killed.wait_ready(), living.wait_ready()
        killed.kill()
        assert len(list(temp.iterdir())) == 2
        third = embedded.start(log=tmp_path / "c")
        third.wait_ready()
        assert len(list(temp.iterdir())) == 2  # the living one's and the new one's
        third.stop()
        [kept] = temp.iterdir()
        assert client("sts", Endpoints(aws_url=living.url)).get_caller_identity()
    finally:
        killed.stop()
        living.stop()
    assert not kept.exists()


def test_a_port_in_use_is_one_line(temp, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cloud = embedded.start(log=tmp_path / "log", port=port)
        with pytest.raises(ServiceError, match=f"the embedded cloud did not start: port {port} on 127.0.0.1 cannot be used"):
            cloud.wait_ready()
    assert (tmp_path / "log").read_text().count("\n") == 1
    assert list(temp.iterdir()) == []


def test_a_chosen_port_is_used(temp, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cloud = embedded.start(log=tmp_path / "log", port=port)
    try:
        assert cloud.wait_ready() == f"http://127.0.0.1:{port}"
    finally:
        cloud.stop()


def test_small_answers_are_not_held_back_by_nagle():
    """Without TCP_NODELAY every answer of two writes takes 40 ms more. asyncio sets it on sockets that say they are TCP."""
    with listen() as sock, socket.create_connection(sock.getsockname()) as there:
        here, _ = sock.accept()
        with here:
            assert here.proto == socket.IPPROTO_TCP and there.getpeername()
