"""Whether ``kill -9`` of workers and of the vector server, at any moment and under load, loses events or changes their order.

Workers share a stream's shards; each kill is followed by a new process. What they leave behind is compared with what another
consumer, which nobody kills, makes of the same stream. Delivery is at least once, so after a kill some batches come again: the
effects must be those of coming once.
"""

import dataclasses
import itertools
import secrets
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from workbench import provision
from workbench.benchmarks.claim import Baseline, Claim, claim
from workbench.benchmarks.consumer import CODEC, SETTINGS, Drawn, Journal, Wiring, index, source
from workbench.benchmarks.effects import Effects, compared, left
from workbench.clock import now_ns
from workbench.cloud import embedded
from workbench.cloud.clients import client
from workbench.errors import EventRejected, MeasureError
from workbench.events import Event
from workbench.function.tables import Tables, put_items, slices
from workbench.process import LOOPBACK, Child, listen
from workbench.scenarios import retail
from workbench.settings import Endpoints
from workbench.stream.leases import Leases
from workbench.stream.producer import Producer
from workbench.stream.schedule import schedule

_ROUNDS, _KILLS = 10, 10  # rounds, and kills of each
_LATEST_S = 3.0  # after which a process that is at work is killed at the latest
_SHARDS, _WORKERS = 4, 2
_RATE = 100.0  # events/s
_USERS, _OF_A_USER = 24, 250  # events of a round at most; the read model knows a user's last 256
_STALLED_S = 60.0  # without a checkpoint that moves
_LOOK_S = 0.1
_KEYS = {"leases": "shard_id", "profiles": "user_id", "products": "product_id", "killed": "user_id", "calm": "user_id"}


class Round(NamedTuple):
    """One round's kills, and what they did to its events."""

    servers: int  # kills of the vector server
    workers: int
    effects: Effects

    @property
    def kills(self) -> int:
        return self.servers + self.workers

    @property
    def survived(self) -> int:
        """The kills, if they left no trace."""
        return self.kills if self.effects.intact else 0


class Victims:
    """Processes of which each is replaced by its like when it is killed."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Child, Callable[[], Child]]] = {}

    def start(self, name: str, start: Callable[[], Child]) -> None:
        self._running[name] = start(), start

    def names(self) -> list[str]:
        return list(self._running)

    def kill(self, name: str, after_s: float) -> None:
        """Let it be at work for that long, kill it, and start its like."""
        child, start = self._running[name]
        child.wait_ready()
        time.sleep(after_s)
        self.check()
        self.end(name)
        self.start(name, start)

    def end(self, name: str) -> None:
        child = self._running.pop(name)[0]
        child.kill()
        child.stop()  # closes its pipes

    def check(self) -> None:
        """
        Raises:
            MeasureError: one ended by itself.
        """
        for child, _ in self._running.values():
            if not child.running:
                raise MeasureError(f"{child.name} ended before it was killed: {child.last_words()}")

    def close(self) -> None:
        for name in self.names():
            self.end(name)


class _Machine(NamedTuple):
    """What all rounds share."""

    folder: Path
    endpoints: Endpoints
    vectors_url: str
    key: str

    def vector_server(self) -> Child:
        arguments = ["--data", str(self.folder / "vectors"), "--sync", "normal", "--port", self.vectors_url.rpartition(":")[2]]
        return self._child("the vector server", "workbench.vectors.server", arguments)

    def worker(self, wiring: Wiring) -> Child:
        return self._child("a worker", "workbench.benchmarks.killed_worker", [msgspec.json.encode(wiring).decode()])

    def _child(self, name: str, module: str, arguments: Sequence[str]) -> Child:
        return Child(name, module, arguments, log=self.folder / f"{module}.log", env={"WORKBENCH_API_KEY": self.key})


def rounds(folder: Path, count: int, *, kills: int, seed: int) -> Iterator[Round]:
    """Rounds of so many random kills, each with a stream, events and a read model of its own. Logs and indexes go to ``folder``.

    Raises:
        MeasureError: a process ended by itself, or nothing moved for a minute.
        ServiceError: the cloud or the vector server did not start.
    """
    draw = np.random.default_rng(seed)
    data = _data(count, seed)
    with ExitStack() as running:
        cloud = embedded.start(log=folder / "cloud.log")
        running.callback(cloud.stop)
        with listen() as free:
            url = f"http://{LOOPBACK}:{free.getsockname()[1]}"
        machine = _Machine(folder, Endpoints(aws_url=cloud.wait_ready()), url, secrets.token_hex(16))
        victims = running.enter_context(closing(Victims()))
        victims.start("vectors", machine.vector_server)
        for events in slices(data.events, _USERS * _OF_A_USER):
            yield _round(machine, victims, data, events, kills, draw)


def survived_worker_kills(name: str) -> Claim:
    """Kills of workers and of the vector server after which no event is lost, out of order or counted twice; baseline: all."""
    with tempfile.TemporaryDirectory() as folder:
        seen = list(rounds(Path(folder), _ROUNDS, kills=_KILLS, seed=0))
    servers, kills = (sum(getattr(one, what) for one in seen) for what in ("servers", "kills"))
    total = Effects(*(sum(figures) for figures in zip(*(one.effects for one in seen), strict=True)))
    survived = [one.survived for one in seen]
    return claim(
        name,
        "kills",
        [sum(survived)],
        Baseline("all", float(kills)),
        interval=(min(survived), max(survived)),
        spread="least and most of a round",
        runs=len(seen),
        note=f"{servers} of them of the vector server; {total.events:,} events, {total.repeated:,} deliveries were repeated, "
        f"{total.lost} events lost; {total.disordered} users out of order, {total.differing} unlike without kills",
    )


def _round(
    machine: _Machine, victims: Victims, data: retail.Retail, events: list[Event], kills: int, draw: np.random.Generator
) -> Round:
    """Kill so many processes while ``events`` are sent, which ends with the last kill."""
    killed, calm = _wired(machine, data)
    for wiring in (killed, calm):
        with closing(index(wiring, machine.key)) as store:
            provision.fill_index(store, Drawn(), data)
    stop, sent = threading.Event(), _Sent()
    with ThreadPoolExecutor(1) as pool, ExitStack() as running:
        running.callback(stop.set)
        sending = pool.submit(_send, killed, events, sent, stop)
        for number in range(_WORKERS):
            name = f"worker-{number}"
            victims.start(name, lambda: machine.worker(killed))
            running.callback(victims.end, name)
        servers = 0
        for _ in range(kills):
            name = str(draw.choice(victims.names()))
            servers += name == "vectors"
            victims.kill(name, draw.random() * _LATEST_S)
        stop.set()
        _await_end(killed, sending, victims.check)
    with (
        closing(index(calm, machine.key)) as store,
        closing(Journal(calm.journal)) as journal,
        source(calm, store, journal) as undisturbed,
    ):
        _await_end(calm, sending, undisturbed.check)
    lines = Path(killed.journal).read_bytes().splitlines()
    delivered = list(itertools.chain.from_iterable(msgspec.json.decode(line, type=list[str]) for line in lines))
    found, wanted = (left(wiring, machine.key, data.profiles) for wiring in (killed, calm))
    put = [events[number] for number in sorted(sent.numbers)]
    return Round(servers, kills - servers, compared(put, delivered, found, wanted))


def _data(rounds: int, seed: int) -> retail.Retail:
    """Synthetic purchases, dealt out to a few of their households in turn."""
    count = rounds * _USERS * _OF_A_USER
    data = retail.load(start=SETTINGS.start, events=count, catalogue=SETTINGS.catalogue, source=SETTINGS.source, seed=seed)
    profiles = data.profiles[:_USERS]
    of_users = zip(data.events, itertools.cycle(profiles), strict=False)
    events = [msgspec.structs.replace(event, user_id=profile.user_id) for event, profile in of_users]
    return dataclasses.replace(data, events=events, profiles=profiles)


def _wired(machine: _Machine, data: retail.Retail) -> tuple[Wiring, Wiring]:
    """A stream and what its two consumers need: the one whose workers are killed, and the one that nobody kills."""
    kinesis, dynamodb, sqs = (client(service, machine.endpoints) for service in ("kinesis", "dynamodb", "sqs"))
    name = f"kills-{uuid.uuid4().hex[:8]}"
    kinesis.create_stream(StreamName=name, ShardCount=_SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    arn = kinesis.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]["StreamARN"]
    for table, key in _KEYS.items():
        dynamodb.create_table(
            TableName=f"{name}-{table}",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"}],
            KeySchema=[{"AttributeName": key, "KeyType": "HASH"}],
        )
    put_items(dynamodb, f"{name}-profiles", (profile.to_item() for profile in data.profiles))
    put_items(dynamodb, f"{name}-products", (product.to_item() for product in data.products))
    queue_url = sqs.create_queue(QueueName=name)["QueueUrl"]

    def wiring(role: str) -> Wiring:
        return Wiring(
            aws_url=machine.endpoints.aws_url,
            vectors_url=machine.vectors_url,
            stream=name,
            stream_arn=arn,
            leases=f"{name}-leases",
            tables=Tables(f"{name}-profiles", f"{name}-products", f"{name}-{role}"),
            queue_url=queue_url,
            consumer=f"{name}-{role}",
            journal=str(machine.folder / f"{name}-{role}.jsonl"),
        )

    return wiring("killed"), wiring("calm")


class _Sent:
    """Which events were put into the stream, by number."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def sent(self, index: int, ns: int) -> None:
        self.numbers.append(index)

    def refused(self, index: int, error: EventRejected) -> None:
        raise error


def _send(wiring: Wiring, events: list[Event], sent: _Sent, stop: threading.Event) -> None:
    due_ns = schedule(len(events), rate=_RATE, arrivals="poisson", seed=0) + now_ns()
    Producer(client("kinesis", wiring.endpoints), wiring.stream, CODEC, observer=sent).send(events, due_ns, stop=stop)


def _await_end(wiring: Wiring, sending: Future, check: Callable[[], None]) -> None:
    """Until all that was sent is behind the consumer's checkpoints."""
    sending.result()
    last = _last(wiring)
    leases = Leases(client("dynamodb", wiring.endpoints), wiring.leases, consumer=wiring.consumer, worker="nobody")
    seen, moved = {}, time.monotonic()
    while seen != last:
        check()
        now = {lease.shard_id: lease.checkpoint for lease in leases.all(last)}
        if now != seen:
            seen, moved = now, time.monotonic()
        elif time.monotonic() - moved > _STALLED_S:
            raise MeasureError(f"{wiring.consumer} did not get on for {_STALLED_S:.0f} s: checkpoints {seen}, not {last}")
        time.sleep(_LOOK_S)


def _last(wiring: Wiring) -> dict[str, str]:
    """The last sequence number of each shard that has any."""
    kinesis, found = client("kinesis", wiring.endpoints), {}
    for shard in kinesis.list_shards(StreamName=wiring.stream)["Shards"]:
        begin = {"StreamName": wiring.stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        records = kinesis.get_records(ShardIterator=kinesis.get_shard_iterator(**begin)["ShardIterator"])["Records"]
        if records:
            found[shard["ShardId"]] = records[-1]["SequenceNumber"]
    return found
