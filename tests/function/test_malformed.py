"""Ten thousand malformed records among good ones: each good event in the read model, each bad one put aside with its reason."""

import base64
import collections
import itertools
import json
import random
import uuid
import zlib
from collections.abc import Callable, Iterable
from hashlib import md5
from typing import NamedTuple

import msgspec
import pytest

from tests.stream.conftest import Wired
from workbench.cloud.clients import client
from workbench.events import Event
from workbench.function.aggregation import SubRecord, pack
from workbench.function.entities import Activity
from workbench.function.processor import Processor
from workbench.function.rejects import Rejects
from workbench.stream.dead_letters import DeadLetter, parse

from .test_processor import PRODUCTS, SETTINGS, World
from .world import JSON, NOON, event, fields, record

_FIELDS = ("event_id", "user_id", "product_id", "timestamp_ms", "trace_id")
_NO_JSON = "not a json event: "

Malformed = tuple[bytes | str | None, str]  # data, as it is in Kinesis (bytes) or in Lambda's event; and what the reason says


def template(draw: random.Random) -> dict:
    """An event but for what is made wrong in it. Its user is nobody's: an event that came through would be seen."""
    name = f"bad-{draw.getrandbits(64):x}"
    return fields(event(name, user=name, product=draw.choice(PRODUCTS).product_id, at=NOON))


def encoded(draw: random.Random) -> bytes:
    return msgspec.json.encode(template(draw))


def may_be_event(data: bytes) -> bool:
    """Whether Python's own parser, which is the more lenient one, finds an event there."""
    try:
        found = json.loads(data.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(isinstance(found.get(name), int if "_ms" in name else str) for name in _FIELDS)


def no_event(make: Callable[[], bytes]) -> Malformed:
    """The first of what ``make`` gives that cannot be an event, whoever reads it."""
    return next((data, _NO_JSON) for data in iter(make, None) if not may_be_event(data))


def mutated(draw: random.Random) -> bytes:
    """Bytes changed, left out, doubled or put in."""
    data = bytearray(encoded(draw))
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(data))
        data[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(3)) * draw.randint(1, 2)
    return bytes(data)


def truncated(draw: random.Random) -> Malformed:
    data = encoded(draw)
    return data[: draw.randrange(len(data))], _NO_JSON


def surrounded(draw: random.Random) -> Malformed:
    data = encoded(draw)
    return draw.choice(
        [b"\xef\xbb\xbf" + data, data + data, data + b"\0", b"[" + data + b"]", data.replace(b":", b"=")]
    ), _NO_JSON


def otherwise_encoded(draw: random.Random) -> Malformed:
    data = encoded(draw)
    encodings = (
        data.decode().encode("utf-16"),
        data.decode().encode("utf-32-le"),
        base64.b64encode(data),
        zlib.compress(data),
        msgspec.msgpack.encode(template(draw)),
        msgspec.json.encode(data.decode()),
    )
    return draw.choice(encodings), _NO_JSON


def no_object(draw: random.Random) -> Malformed:
    return draw.choice(
        [b"null", b"17", b"-0.5e-300", b"1e999", b"NaN", b"-Infinity", b"true", b'"event"', b"[]", b"[{}]"]
    ), _NO_JSON


def missing(draw: random.Random) -> Malformed:
    """A field, or its name as it should be; there may be others instead."""
    made, name = template(draw), draw.choice(_FIELDS)
    value = made.pop(name)
    made |= draw.choice([{}, {name.upper(): value}, {f"{name} ": value}, {"extra": [value]}])
    return msgspec.json.encode(made), f"missing required field {name}"


def of_wrong_type(draw: random.Random) -> Malformed:
    made, name = template(draw), draw.choice((*_FIELDS, "schema_version"))
    wrong = [None, True, 0.5, [], {}, [made[name]], {"S": made[name]}]
    wrong.append(str(made[name]) if isinstance(made[name], int) else draw.getrandbits(60))
    return msgspec.json.encode(made | {name: draw.choice(wrong), "extra": 1}), f"$.{name}"


def literal(name: str, text: bytes, draw: random.Random) -> bytes:
    """An event whose field is this text of JSON, or what is none."""
    return msgspec.json.encode(template(draw) | {name: "@@"}).replace(b'"@@"', text)


def no_number(draw: random.Random) -> Malformed:
    name = draw.choice(("timestamp_ms", "schema_version"))
    return literal(
        name, draw.choice([b"NaN", b"Infinity", b"-Infinity", b"0x10", b"1_000", b"+1", b"007", b"1.", b".5"]), draw
    ), _NO_JSON


def out_of_range(draw: random.Random) -> Malformed:
    """Of the field, of a float, or of what Python makes an int of."""
    name = draw.choice(("timestamp_ms", "schema_version"))
    digits = b"9" * draw.choice((15, 19, 20, 40, 400, 4299, 4300, 4301, 20_000))
    return literal(name, draw.choice([digits, digits, b"1e" + digits[:4], digits + b".5"]), draw), name


def before_time(draw: random.Random) -> Malformed:
    return literal("timestamp_ms", b"-%d" % draw.randint(1, 10**18), draw), "timestamp_ms = -"


def nested(draw: random.Random) -> Malformed:
    depth, (opened, closed) = 15_000, draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    text = opened * depth + draw.choice([b"0" + closed * depth, b""])
    return literal(draw.choice(("trace_id", "extra")), text, draw), _NO_JSON


def no_unicode(draw: random.Random) -> Malformed:
    """Bytes that are not UTF-8, and lone surrogates: as bytes, and escaped."""
    wrong = draw.choice([b"\xff", b"\xc0\x80", b"\xf5\x80\x80\x80", b"\xed\xa0\x80", b"\xe2\x82", b"\\ud800", b"\\udfff\\ud800"])
    return literal(draw.choice(("event_id", "user_id", "product_id", "trace_id")), b'"a' + wrong + b'b"', draw), _NO_JSON


def no_id(draw: random.Random) -> Malformed:
    name = draw.choice(("event_id", "user_id", "product_id"))
    wrong = ["", " \t", "ü", "x" * 501, "x" * 3000, "a\0b", " a", "a\n", "名前", "\U0001f4e6", "a\u2028b"]
    return msgspec.json.encode(template(draw) | {name: draw.choice(wrong)}), name


def trace_too_long(draw: random.Random) -> Malformed:
    return msgspec.json.encode(template(draw) | {"trace_id": "t\n" * draw.randint(251, 5_000)}), "trace_id has "


def newer(draw: random.Random) -> Malformed:
    return msgspec.json.encode(template(draw) | {"schema_version": draw.randint(2, 2**63)}), "is newer than 1"


def of_unknown_product(draw: random.Random) -> Malformed:
    unknown = draw.choice(["P1", "p20", "p1 p2", "p\n1", "../p1", "p1' OR '1'='1", f"p{draw.getrandbits(40)}"])
    return msgspec.json.encode(template(draw) | {"product_id": unknown}), "is not in the products table"


def sealed(message: bytes) -> bytes:
    """A KPL-aggregated record of this message, under an MD5 that is right."""
    return b"\xf3\x89\x9a\xc2" + message + md5(message).digest()


def aggregated(*data: bytes) -> bytes:
    return pack(SubRecord("user", None, each) for each in data)


def aggregated_under_a_wrong_md5(draw: random.Random) -> Malformed:
    whole = bytearray(aggregated(*(encoded(draw) for _ in range(draw.randint(1, 4)))))
    if draw.random() < 0.5:
        return bytes(whole[: draw.randrange(1, len(whole))]), _NO_JSON
    whole[draw.randrange(len(whole))] ^= draw.randint(1, 255)
    return bytes(whole), _NO_JSON


def aggregated_and_damaged(draw: random.Random) -> Malformed:
    """Behind whole records, one that is none, under an MD5 that is right."""
    whole = aggregated(encoded(draw), encoded(draw))[4:-16]
    part, reason = draw.choice(
        [
            (b"\x1a\x02\x08\x00", "a record has no data"),
            (b"\x1a\x03\x1a\x01x", "a record has no partition_key_index"),
            (b"\x1a\x05\x08\x07\x1a\x01x", "partition_key_index = 7 is outside its table of 1"),
            (b"\x1a\x07\x08\x00\x10\x00\x1a\x01x", "explicit_hash_key_index = 0 is outside its table of 0"),
            (b"\x1a\x7fx", "field 3 has 127 bytes, 1 are left"),
            (b"\x1a" + b"\xff" * draw.randint(1, 20), "a number does not end"),
            (b"\x0a\x01\xff", "a key is not UTF-8"),
            (bytes([draw.choice((3, 4, 6, 7)) | 8]), "has the wire type"),
            (b"\x09" + b"x" * draw.randrange(8), "field 1 has 8 bytes"),
        ]
    )
    return sealed(whole + part), reason


def no_base64(draw: random.Random) -> Malformed:
    text = base64.b64encode(encoded(draw)).decode()
    at = draw.randrange(len(text) - 4)
    wrong = [
        text[:at] + draw.choice("-_%\n é=\0") + text[at:],
        text[:-1],
        text[:-3],
        text + "A",
        text[:at] + "%%%%" + text[at:],
        None,
    ]
    return draw.choice(wrong), "base64"


OF_BYTES: dict[str, Callable[[random.Random], Malformed]] = {
    "nothing": lambda draw: (draw.choice([b"", b" ", b"\n\n", b"\0"]), _NO_JSON),
    "random bytes": lambda draw: no_event(lambda: draw.randbytes(draw.randint(1, 300))),
    "random bytes behind the KPL's magic": lambda draw: (b"\xf3\x89\x9a\xc2" + draw.randbytes(draw.randrange(60)), _NO_JSON),
    "mutated": lambda draw: no_event(lambda: mutated(draw)),
    **{
        make.__name__: make
        for make in (
            truncated,
            surrounded,
            otherwise_encoded,
            no_object,
            missing,
            of_wrong_type,
            no_number,
            out_of_range,
            before_time,
            nested,
            no_unicode,
            no_id,
            trace_too_long,
            newer,
            of_unknown_product,
            aggregated_under_a_wrong_md5,
            aggregated_and_damaged,
        )
    },
}
ALL = OF_BYTES | {"no_base64": no_base64}


class Mixed(NamedTuple):
    """A record's data, the good events in it, and what the reasons for the rest of it say: by sub-record, None for the whole."""

    data: bytes | str | None
    good: list[Event]
    reasons: dict[int | None, str]


def within(wrong: bytes, reason: str) -> str:
    """What the reason says if this is aggregated: what is aggregated twice is unpacked once."""
    return _NO_JSON if wrong.startswith(b"\xf3\x89\x9a\xc2") else reason


def mixed(kinds: dict[str, Callable[[random.Random], Malformed]], bad: int, good: int, *, seed: int) -> list[Mixed]:
    """So many records of each kind in turn, some of them aggregated, among so many good events, of which some are beside them."""
    draw, made = random.Random(seed), []
    turn = itertools.cycle(kinds.values())
    while len(made) < bad:
        data, reason = next(turn)(draw)
        if isinstance(data, bytes) and draw.random() < 0.05:
            other, its = draw.choice(list(OF_BYTES.values()))(draw)
            made.append(Mixed(aggregated(data, other), [], {0: within(data, reason), 1: within(other, its)}))
        else:
            made.append(Mixed(data, [], {None: reason}))
    turn = itertools.cycle(OF_BYTES.values())
    for number in range(good):
        one = event(f"good-{number}", f"user-{number % (good // 4)}", draw.choice(PRODUCTS).product_id, NOON + number)
        data = JSON.encode(one)
        if number % 5:
            added = draw.choice([b"", b',"extra":[{"a":null}]', b',"schema_version":-1', b',"extra":"\xff"', b',"extra":1e999'])
            made.append(Mixed(data[:-1] + added + b"}", [one], {}))
        else:
            wrong, reason = next(turn)(draw)
            made.append(Mixed(aggregated(wrong, data), [one], {0: within(wrong, reason)}))
    draw.shuffle(made)
    return made


class Aside:
    """What the processor puts aside, each place once: ``Rejects`` in the place of the queue."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}

    def send(self, records: list[dict], reasons: dict[str, str]) -> None:
        assert self.reasons.keys().isdisjoint(reasons)
        assert {place.partition(":")[0] for place in reasons} <= {each["kinesis"]["sequenceNumber"] for each in records}
        self.reasons |= reasons


def processor(world: World, rejects: Aside | Rejects) -> Processor:
    return Processor(
        SETTINGS, dynamodb=world.dynamodb, tables=world.tables, embedder=world.embedder, store=world.store, rejects=rejects
    )


def events_by_user(world: World) -> dict[str, list[str]]:
    """The event ids that the read model holds."""
    return {user: [touch.event_id for touch in Activity.from_item(item).recent] for user, item in world.items().items()}


def sent_by_user(records: Iterable[Mixed]) -> dict[str, list[str]]:
    found = collections.defaultdict(list)
    for each in (one for made in records for one in made.good):
        found[each.user_id].append(each.event_id)
    return dict(found)


def assert_one_line(reason: str) -> None:
    assert reason.strip() and len(reason.splitlines()) == 1, reason


def test_among_ten_thousand_malformed_records_every_good_one_is_processed_and_every_bad_one_put_aside(dynamodb, tables):
    made, aside = mixed(ALL, 10_000, 1_000, seed=5), Aside()
    world = World(dynamodb, tables)
    process = processor(world, aside).process
    records = [record(each.data, str(number)) for number, each in enumerate(made)]
    for start in range(0, len(records), 100):
        assert process({"Records": records[start : start + 100]})["batchItemFailures"] == []
    assert events_by_user(world) == sent_by_user(made)
    expected = {
        str(number) if part is None else f"{number}:{part}": reason
        for number, each in enumerate(made)
        for part, reason in each.reasons.items()
    }
    assert aside.reasons.keys() == expected.keys() and len(expected) > 10_000
    for place, reason in aside.reasons.items():
        assert_one_line(reason)
        assert expected[place] in reason, f"{made[int(place.partition(':')[0])].data!r:.200}"


def test_of_every_kind_there_are_hundreds():
    """The test above would be worth little if its kinds were few, or all alike."""
    made = mixed(ALL, 10_000, 0, seed=5)
    assert len(ALL) >= 20 and 10_000 // len(ALL) > 400
    assert len({each.data for each in made}) > 9_000
    assert sum(len(each.reasons) == 2 for each in made) > 300


@pytest.fixture
def queue(embedded_cloud):
    """(SQS, the queue's URL)."""
    sqs = client("sqs", embedded_cloud)
    url = sqs.create_queue(QueueName=f"malformed-{uuid.uuid4().hex[:8]}")["QueueUrl"]
    yield sqs, url
    sqs.delete_queue(QueueUrl=url)


def taken(sqs, url: str) -> list[DeadLetter]:
    """All that lies in the queue."""
    letters = []
    while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        letters += [parse(message["Body"]) for message in messages]
    return letters


def test_so_they_are_by_way_of_the_stream_the_event_source_and_the_queue(embedded_cloud, dynamodb, tables, queue, until):
    made = mixed(OF_BYTES, 240, 60, seed=6)
    world, wired = World(dynamodb, tables), Wired(embedded_cloud, until, shards=2)
    try:
        keys = [each.good[0].user_id if each.good else f"bad-{number}" for number, each in enumerate(made)]
        put = [
            wired.kinesis.put_record(StreamName=wired.name, Data=each.data, PartitionKey=key)["SequenceNumber"]
            for each, key in zip(made, keys, strict=True)
        ]
        rules = {"report_batch_item_failures": True, "bisect_batch_on_function_error": True, "parallelization_factor": 2}
        with wired.source(processor(world, Rejects(*queue)).process, batch_size=25, **rules) as source:
            until(lambda: sum(len(each.settled) for each in wired.deliveries) == len(made), "all are settled")
            source.check()
    finally:
        wired.close()
    assert all(each.failure == "" and each.discarded is None for each in wired.deliveries) and wired.aged == []
    assert events_by_user(world) == sent_by_user(made)
    bad = {number: each for number, each in zip(put, made, strict=True) if each.reasons}
    letters = taken(*queue)
    assert sorted(letter.first for letter in letters) == sorted(bad), "each is there once"
    for letter in letters:
        assert_one_line(letter.reason)
        assert all(reason in letter.reason for reason in bad[letter.first].reasons.values())
        assert letter.data == bad[letter.first].data
