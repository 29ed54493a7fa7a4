"""KPL aggregation: many user records in one Kinesis record, unpacked and packed.

Lambda hands aggregated records over as they lie in the stream: a function unpacks them itself
(docs.aws.amazon.com/streams/latest/dev/kinesis-record-deaggregation.html). The format is AWS' own
(github.com/awslabs/amazon-kinesis-producer, aggregation-format.md): 4 bytes of magic, a protobuf (proto2) message, and the
16 bytes of its MD5::

    message AggregatedRecord {
      repeated string partition_key_table     = 1;
      repeated string explicit_hash_key_table = 2;
      repeated Record records                 = 3;
    }
    message Record {
      required uint64 partition_key_index     = 1;
      optional uint64 explicit_hash_key_index = 2;
      required bytes  data                    = 3;
      repeated Tag    tags                    = 4;  // no API of AWS writes or reads them: skipped
    }

The parser is our own. ``aws-kinesis-agg`` 1.2.3, AWS' module for it, imports six without requiring it, puts its own folder first
in ``sys.path``, gives a record without an explicit hash key the table's first one, and loses what follows an index outside
its table. It would also bring protobuf into the function's zip, 2.7 MB for one fixed message.

The KCL drops user records whose hash key lies outside the shard: the KPL, whose map of the shards was old, puts them again. A
function is not told its shard's range, so they are kept here. Their events come twice, as any may: delivery is at least once.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator

import msgspec

from workbench.errors import DecodeError, SettingError

MAGIC = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES = 16
_FORMAT = "KPL-aggregated"

# How protobuf writes a value: the lower 3 bits of a field's tag. The upper ones are the field's number.
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}  # bytes of a value; neither message has such a field
_MOST_VARINT_BYTES = 10

_PARTITION_KEY = 1 << 3 | _LENGTH
_EXPLICIT_HASH_KEY = 2 << 3 | _LENGTH
_RECORD = 3 << 3 | _LENGTH

_PARTITION_KEY_INDEX = 1 << 3 | _VARINT
_EXPLICIT_HASH_KEY_INDEX = 2 << 3 | _VARINT
_DATA = 3 << 3 | _LENGTH

_KEY = re.compile("[^\ud800-\udfff]{1,256}")  # lone surrogates are no text
_DECIMAL = re.compile("0|[1-9][0-9]{0,38}")
_HASH_KEYS = 2**128


class SubRecord(msgspec.Struct, frozen=True):
    """A user record within an aggregated one. ``explicit_hash_key`` is decimal, 0 to 2^128 - 1."""

    partition_key: str
    explicit_hash_key: str | None
    data: bytes


def unpack(data: bytes) -> list[SubRecord] | None:
    """The user records of an aggregated record, in their order; None if the data is not aggregated.

    As in the KCL, data is not aggregated if it does not begin with the magic, has no message or a wrong MD5. A message that is
    damaged although its MD5 is right is refused as a whole. (The KCL hands it on as it is if it cannot be parsed, and loses the
    records from the first bad index on.) Keys must be UTF-8 and are not checked further. Time and memory grow with the length.

    Raises:
        DecodeError: the MD5 is right, but the message is none of this format, or an index points outside its table.
    """
    if not data.startswith(MAGIC):
        return None
    message, digest = data[len(MAGIC) : -_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if not message or _md5(message) != digest:
        return None
    found: dict[int, list] = {_PARTITION_KEY: [], _EXPLICIT_HASH_KEY: [], _RECORD: []}
    for tag, value in _fields(message):
        if tag in found:
            found[tag].append(value)
    partition_keys = [_text(key) for key in found[_PARTITION_KEY]]
    explicit_hash_keys = [_text(key) for key in found[_EXPLICIT_HASH_KEY]]
    return [_sub_record(record, partition_keys, explicit_hash_keys) for record in found[_RECORD]]


def pack(records: Iterable[SubRecord]) -> bytes:
    """The data of one Kinesis record that holds these; a key that several have is written once.

    How large it may be is the stream's rule, and Kinesis' to check. What Kinesis cannot see any more is checked here.

    Raises:
        SettingError: no record at all, or a key that Kinesis would not take for a record of its own.
    """
    partition_keys: dict[str, int] = {}
    explicit_hash_keys: dict[str, int] = {}
    packed = []
    for record in records:
        _check_keys(record)
        index = partition_keys.setdefault(record.partition_key, len(partition_keys))
        fields = _written(_PARTITION_KEY_INDEX) + _written(index)
        if record.explicit_hash_key is not None:
            index = explicit_hash_keys.setdefault(record.explicit_hash_key, len(explicit_hash_keys))
            fields += _written(_EXPLICIT_HASH_KEY_INDEX) + _written(index)
        packed.append(_with_length(_RECORD, fields + _with_length(_DATA, record.data)))
    if not packed:
        raise SettingError("records", [], "at least 1 record")
    keys = [_with_length(_PARTITION_KEY, key.encode()) for key in partition_keys]
    keys += [_with_length(_EXPLICIT_HASH_KEY, key.encode()) for key in explicit_hash_keys]
    message = b"".join([*keys, *packed])
    return MAGIC + message + _md5(message)


def _sub_record(record: bytes, partition_keys: list[str], explicit_hash_keys: list[str]) -> SubRecord:
    fields = dict(_fields(record))  # of a field written twice the last one counts, as in protobuf
    for name, tag in (("partition_key_index", _PARTITION_KEY_INDEX), ("data", _DATA)):
        if tag not in fields:
            raise DecodeError(_FORMAT, f"a record has no {name}")
    explicit_hash_key = None
    if _EXPLICIT_HASH_KEY_INDEX in fields:
        explicit_hash_key = _entry("explicit_hash_key", explicit_hash_keys, fields[_EXPLICIT_HASH_KEY_INDEX])
    partition_key = _entry("partition_key", partition_keys, fields[_PARTITION_KEY_INDEX])
    return SubRecord(partition_key, explicit_hash_key, fields[_DATA])


def _entry(name: str, table: list[str], index: int) -> str:
    if index >= len(table):
        raise DecodeError(_FORMAT, f"{name}_index = {index} is outside its table of {len(table)}")
    return table[index]


def _text(key: bytes) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise DecodeError(_FORMAT, "a key is not UTF-8") from None


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's tag and value in order: an int of a varint, bytes of anything else. Unknown fields are among them."""
    at = 0
    while at < len(message):
        tag, at = _read(message, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == _VARINT:
            value, at = _read(message, at)
        elif wire_type == _LENGTH or wire_type in _FIXED:
            size, at = _read(message, at) if wire_type == _LENGTH else (_FIXED[wire_type], at)
            if size > len(message) - at:
                raise DecodeError(_FORMAT, f"field {number} has {size} bytes, {len(message) - at} are left")
            value, at = message[at : at + size], at + size
        else:  # 3 and 4 are groups, which no message of this format has had; 6 and 7 are nothing
            raise DecodeError(_FORMAT, f"field {number} has the wire type {wire_type}, not one of 0, 1, 2, 5")
        yield tag, value


def _read(message: bytes, at: int) -> tuple[int, int]:
    """The varint there (7 bits a byte, the lowest first; the top bit says that more follow), and where it ends."""
    value = 0
    for position, byte in enumerate(message[at : at + _MOST_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return value, at + position + 1
    raise DecodeError(_FORMAT, f"a number does not end within {_MOST_VARINT_BYTES} bytes or the message")


def _written(value: int) -> bytes:
    """The value as a varint."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def _with_length(tag: int, value: bytes) -> bytes:
    return _written(tag) + _written(len(value)) + value


def _check_keys(record: SubRecord) -> None:
    """Kinesis' own rules (PutRecords); the KCL would lose a record with an explicit hash key that is no number."""
    explicit = record.explicit_hash_key
    if not _KEY.fullmatch(record.partition_key):
        raise SettingError("partition_key", record.partition_key, "1 to 256 Unicode characters")
    if explicit is not None and not (_DECIMAL.fullmatch(explicit) and int(explicit) < _HASH_KEYS):
        raise SettingError("explicit_hash_key", explicit, "a decimal number from 0 to 2^128 - 1")


def _md5(message: bytes) -> bytes:
    return hashlib.md5(message, usedforsecurity=False).digest()
