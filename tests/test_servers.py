"""The local servers and their supervisor: shared, and gone with their last user, however that one ends."""

import json
import os
import signal
import socket
import threading
import time

import httpx
import pytest

from workbench import places, servers
from workbench.errors import ServiceError
from workbench.servers import services


def _pids(state: dict) -> dict[str, int]:
    return {server["name"]: server["pid"] for server in state["servers"]}


def test_the_first_user_starts_them_the_second_joins_and_they_end_with_the_last(machine, until):
    assert servers.status() is None
    with services() as first:
        assert first.started
        endpoints = first.endpoints
        assert httpx.get(f"{endpoints.aws_url}/_ministack/health", trust_env=False).status_code == 200
        keyed = {"Api-Key": endpoints.vectors_key}
        assert httpx.get(f"{endpoints.vectors_url}/indexes", trust_env=False).status_code == 401
        assert httpx.get(f"{endpoints.vectors_url}/indexes", headers=keyed, trust_env=False).json() == {"indexes": []}
        with services() as second:
            assert not second.started and second.endpoints == endpoints
            state = servers.status()
            assert state["leases"] == 2 and not state["held"] and state["ended"] == []
            assert list(_pids(state)) == ["the embedded cloud", "the vector server", "the embedding server"]
        time.sleep(1.5)  # longer than a lease's end is waited for
        first.check()
    until(lambda: machine.processes() == [], "they have ended")
    assert servers.status() is None and not places.services_file().exists()


def test_held_servers_outlive_their_users_until_they_are_stopped(machine):
    held = servers.hold()
    time.sleep(1.5)
    with services() as user:
        assert not user.started
    time.sleep(1.5)
    assert _pids(servers.status()) == _pids(held)
    assert servers.stop()
    assert machine.processes() == [] and servers.status() is None
    assert not servers.stop()


@pytest.mark.parametrize("name", ["the embedded cloud", "the vector server", "the embedding server"])
def test_a_server_that_is_killed_is_told_in_one_line_and_the_next_user_gets_new_ones(machine, name, until):
    with services() as user:
        before = _pids(servers.status())
        os.kill(before[name], signal.SIGKILL)
        until(lambda: servers.status()["ended"] != [], "the supervisor has noticed")
        with pytest.raises(ServiceError) as raised:
            user.check()
        assert str(raised.value).startswith(f"{name} ended: ") and "\n" not in str(raised.value)
        with services() as next_user:
            assert next_user.started
            next_user.check()
            after = _pids(servers.status())
    assert set(after.values()).isdisjoint(before.values())


def test_two_users_that_start_at_once_start_one_set(machine):
    users = [machine.user() for _ in range(3)]
    assert sorted(user.stdout.readline().strip() for user in users) == ["False", "False", "True"]
    assert len(machine.supervisors()) == 1
    assert servers.status()["leases"] == 3


@pytest.mark.parametrize("killed", ["user", "supervisor", "both"])
def test_kill_9_leaves_nothing(machine, killed, until):
    user = machine.user()
    assert user.stdout.readline() == "True\n"
    supervisor = servers.status()["pid"]
    assert len(machine.processes()) == 5
    if killed in ("user", "both"):
        user.kill()
    if killed in ("supervisor", "both"):
        os.kill(supervisor, signal.SIGKILL)
    alive = [user.pid] if killed == "supervisor" else []
    until(lambda: [process.pid for process in machine.processes()] == alive, "the servers have ended")
    assert servers.status() is None
    with services() as next_user:  # whatever the killed ones left on disk
        assert next_user.started
        next_user.check()


def test_a_user_whose_supervisor_was_killed_is_told(machine, until):
    with services() as user:
        os.kill(servers.status()["pid"], signal.SIGKILL)
        until(lambda: servers.status() is None, "it is gone")
        with pytest.raises(ServiceError, match=r"^the local servers ended$"):
            user.check()


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT])
def test_a_user_that_is_ended_while_they_start_leaves_nothing(machine, signal_number, until):
    user = machine.user()
    until(lambda: len(machine.processes()) >= 3, "the supervisor starts servers", timeout_s=10.0)
    user.send_signal(signal_number)
    user.wait(20)
    until(lambda: machine.processes() == [], "all have ended")


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"port": PORT, "token": "t"}', '{"port": "x", "token": 1}', "null"])
def test_a_stale_state_file_is_no_obstacle(machine, content):
    places.services_file().write_text(content.replace("PORT", str(_closed_port())))
    assert servers.status() is None
    assert not servers.stop()


def test_a_stale_state_file_whose_port_another_program_has_is_no_obstacle(machine, monkeypatch):
    monkeypatch.setattr(servers, "_ANSWER_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and says nothing
        places.services_file().write_text(json.dumps({"port": silent.getsockname()[1], "token": "t"}))
        with services() as user:
            assert user.started
    with socket.create_server(("127.0.0.1", 0)) as other:
        places.services_file().write_text(json.dumps({"port": other.getsockname()[1], "token": "t"}))
        answering = threading.Thread(target=_answer_once, args=(other, b"HTTP/1.1 400 Bad Request\r\n\r\n"))
        answering.start()
        assert servers.status() is None
        answering.join()


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


def _say(line: bytes) -> dict:
    address = json.loads(places.services_file().read_text())
    with socket.create_connection(("127.0.0.1", address["port"]), timeout=10) as connection, connection.makefile() as answers:
        connection.sendall(line + b"\n")
        return json.loads(answers.readline())


def test_the_supervisor_wants_its_token_and_only_its_user_can_read_it(machine):
    with services() as user:
        path = places.services_file()
        assert path.stat().st_mode & 0o777 == 0o600
        assert [each.name for each in path.parent.iterdir() if each.name.startswith("services")] == ["services.json"]
        token = json.loads(path.read_text())["token"]
        assert len(token) == 32
        for line in (
            b'{"token": "wrong", "op": "stop"}',
            b'{"token": null, "op": "stop"}',
            '{"token": "é", "op": "stop"}'.encode(),
        ):
            assert _say(line) == {"error": "ServiceError: wrong token"}
        for line in (b'{"op": "stop"}', b"stop", b"", b'["stop"]', b"\xff\xfe"):
            assert list(_say(line)) == ["error"]
        unknown = _say(json.dumps({"token": token, "op": "dance"}).encode())
        assert unknown == {"error": "ServiceError: op 'dance' is not one of lease, hold, status, stop"}
        time.sleep(0.5)  # longer than the supervisor looks whether it was stopped
        user.check()
        assert user.endpoints.vectors_key not in repr(user.endpoints)


def test_servers_of_another_cloud_are_not_joined(machine):
    with services(), pytest.raises(ServiceError, match=r"^servers for cloud 'embedded' run already; `workbench down` ends them$"):
        services("localstack")


def test_aws_is_refused_until_it_is_built(machine):
    with pytest.raises(ServiceError, match="cloud 'aws'"):
        services("aws")
    assert machine.processes() == []


def test_a_server_that_cannot_start_is_told_in_one_line_and_the_others_end(machine, tmp_path, monkeypatch, until):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ministack'] = None")  # as if it were not installed
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ServiceError) as raised:
        services()
    assert str(raised.value) == (
        "the embedded cloud did not start: MiniStack is not installed: pip install ministack==1.5.33 "
        f"(log: {tmp_path / 'logs' / 'cloud.log'})"
    )
    until(lambda: machine.processes() == [], "the others have ended")
