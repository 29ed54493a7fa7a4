"""The process that owns the local servers: the cloud, the vector server, the embedding server.

It lives while somebody needs it. Every user keeps a connection open, its lease; the system closes the connection however
the user ends. When the last lease is gone the servers end, unless ``workbench up`` asked to hold them. If this process
itself is killed, the servers see their input end and stop (see ``process.py``).

Protocol, on loopback, one JSON object a line: ``{"token", "op"}`` in, ``{"state": …}`` or ``{"error": …}`` out. ``lease``
keeps the servers while the connection is open, ``hold`` until ``stop``, ``status`` only asks.
"""

import argparse
import hmac
import json
import os
import secrets
import signal
import socketserver
import sys
import threading
import time
from pathlib import Path

from workbench import places
from workbench.cloud import localstack
from workbench.errors import ServiceError, WorkbenchError
from workbench.process import LOOPBACK, Child

_START_S = 120.0
_FIRST_LEASE_S = 30.0  # a starter that died before it took its lease
_LINGER_S = 1.0  # between one lease and the next
_WATCH_S = 0.2


class Supervisor:
    """Starts the servers of one cloud and answers for them."""

    def __init__(self, cloud: str) -> None:
        self.cloud, self.token, self.key = cloud, secrets.token_hex(16), secrets.token_hex(16)
        self.children: list[Child] = []
        self.endpoints: dict[str, object] = {}
        self.leases, self.held, self.idle_since = 0, False, time.monotonic() + _FIRST_LEASE_S
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def start(self) -> None:
        """All servers at once; returns when each answers.

        Raises:
            ServiceError: one of them did not start.
        """
        aws_url = localstack.find() if self.cloud == "localstack" else None
        keys, logs = {"WORKBENCH_API_KEY": self.key}, places.state() / "logs"
        cloud = self._own(_cloud(self.cloud, logs / "cloud.log"))
        vectors = self._own(Child("the vector server", "workbench.vectors.server", log=logs / "vectors.log", env=keys))
        arguments = ["--cache", str(places.embeddings_file())]
        embeddings = self._own(
            Child("the embedding server", "workbench.embedding.server", arguments, log=logs / "embeddings.log", env=keys)
        )
        self.endpoints = {
            "cloud": self.cloud,
            "aws_url": cloud.wait_ready(_START_S) if cloud else aws_url,
            "vectors_url": vectors.wait_ready(_START_S),
            "vectors_key": self.key,
            "embeddings_url": f"{embeddings.wait_ready(_START_S)}/v1",
            "embeddings_key": self.key,
        }

    def _own(self, child: Child | None) -> Child | None:
        if child:
            self.children.append(child)
        return child

    def state(self) -> dict:
        """What a user of the servers needs to know."""
        ended = [f"{child.name} ended: {child.last_words()} (log: {child.log})" for child in self.children if not child.running]
        servers = [{"name": child.name, "url": child.url, "pid": child.pid, "running": child.running} for child in self.children]
        return {
            "endpoints": self.endpoints,
            "servers": servers,
            "ended": ended,
            "leases": self.leases,
            "held": self.held,
            "pid": os.getpid(),
        }

    def needed(self) -> bool:
        with self.lock:
            if self.leases or self.held:
                self.idle_since = time.monotonic()
                return True
            return time.monotonic() < self.idle_since + _LINGER_S

    def stop(self) -> None:
        """End every server."""
        threads = [threading.Thread(target=child.stop) for child in self.children]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        supervisor: Supervisor = self.server.supervisor
        try:
            asked = json.loads(self.rfile.readline(4096))
            if not hmac.compare_digest(str(asked["token"]).encode(), supervisor.token.encode()):
                raise ServiceError("wrong token")
            self._serve(supervisor, asked["op"])
        except (ValueError, KeyError, TypeError, WorkbenchError) as error:
            self._answer({"error": f"{type(error).__name__}: {error}"})
        except ConnectionError:
            pass  # the user is gone, and its lease with it

    def _serve(self, supervisor: Supervisor, op: str) -> None:
        if op == "lease":
            with supervisor.lock:
                supervisor.leases += 1
            try:
                self._answer({"state": supervisor.state()})
                self.rfile.read()  # until the user closes the connection or ends
            finally:
                with supervisor.lock:
                    supervisor.leases -= 1
                    supervisor.idle_since = time.monotonic()
            return
        if op == "hold":
            supervisor.held = True
        elif op == "stop":
            supervisor.stopping.set()
        elif op != "status":
            raise ServiceError(f"op {op!r} is not one of lease, hold, status, stop")
        self._answer({"state": supervisor.state()})

    def _answer(self, answer: dict) -> None:
        self.wfile.write(json.dumps(answer).encode() + b"\n")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _cloud(cloud: str, log: Path) -> Child | None:
    if cloud != "embedded":
        return None
    from workbench.cloud import embedded

    return embedded.start(log=log)


def main(argv: list[str] | None = None) -> int:
    """Start, say so on standard output in one JSON line, serve until nobody needs the servers."""
    parser = argparse.ArgumentParser(prog="python -m workbench.supervisor", description="Owns the local servers.")
    parser.add_argument("--cloud", choices=("embedded", "localstack"), default="embedded")
    supervisor = Supervisor(parser.parse_args(argv).cloud)
    signal.signal(signal.SIGTERM, lambda *_: supervisor.stopping.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the user; we end when its lease does
    try:
        supervisor.start()
        with _Server((LOOPBACK, 0), _Handler) as server:
            server.supervisor = supervisor
            threading.Thread(target=server.serve_forever, daemon=True).start()
            _publish({"port": server.server_address[1], "token": supervisor.token})
            print(json.dumps({"ready": True}), flush=True)
            while supervisor.needed() and not supervisor.stopping.wait(_WATCH_S):
                pass
            places.services_file().unlink(missing_ok=True)
            server.shutdown()
    except WorkbenchError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    finally:
        supervisor.stop()
    return 0


def _publish(address: dict) -> None:
    """Write the address so that only this user can read it, and nobody can read half of it."""
    draft = places.services_file().with_suffix(f".{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(address, file)
    draft.replace(places.services_file())


if __name__ == "__main__":
    sys.exit(main())
