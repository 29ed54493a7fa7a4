"""KPL aggregation against bytes from elsewhere: by hand from AWS' description, by AWS' own module, by protobuf's library."""

import hashlib
import struct

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as ProtobufError
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DecodeError, SettingError
from workbench.function.aggregation import MAGIC, SubRecord, pack, unpack

# By hand. 0A: field 1 (<< 3), with a length (2); then the length, then the bytes. 12 and 1A: fields 2 and 3, likewise.
# Within a record 08 and 10: fields 1 and 2, varints; 1A: field 3, with a length.
KEYS = bytes.fromhex("0A 01 61  0A 02 62 63")  # partition keys "a", "bc"
HASH_KEYS = bytes.fromhex("12 01 30  12 02 34 32")  # explicit hash keys "0", "42"
PLAIN = bytes.fromhex("1A 06  08 00  1A 02 68 69")  # partition key 0, no explicit hash key, "hi"
HASHED = bytes.fromhex("1A 09  08 01  10 01  1A 03 79 6F 21")  # partition key 1, explicit hash key 1, "yo!"
HI, YO = SubRecord("a", None, b"hi"), SubRecord("bc", "42", b"yo!")

# What AWS' aws-kinesis-agg 1.2.3 wrote: three records of one key; then keys shared and not, an empty one, and one of 200 bytes.
BY_AWS = {
    """f3 89 9a c2 0a 02 70 6b 1a 06 08 00 1a 02 64 30 1a 06 08 00 1a 02 64 31 1a 06 08 00 1a 02 64 32
       0a 6e 26 d1 58 4a ed b1 54 31 9f 64 3b 1a c0 08""": [SubRecord("pk", None, each) for each in (b"d0", b"d1", b"d2")],
    f"""f3 89 9a c2 0a 03 c3 bc 31 0a 01 62
        12 27 33 34 30 32 38 32 33 36 36 39 32 30 39 33 38 34 36 33 34 36 33 33 37 34 36 30 37 34 33 31 37 36 38 32 31 31 34 35 35
        12 01 30 1a 09 08 00 10 00 1a 03 6f 6e 65 1a 06 08 01 10 01 1a 00 1a cf 01 08 00 10 01 1a c8 01 {"78" * 200}
        aa 17 f0 58 46 f9 4a b5 58 d9 55 95 62 12 ef 7b""": [
        SubRecord("ü1", "340282366920938463463374607431768211455", b"one"),
        SubRecord("b", "0", b""),
        SubRecord("ü1", "0", b"x" * 200),
    ],
}

keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
hash_keys = st.none() | st.integers(0, 2**128 - 1).map(str) | st.sampled_from(["0", "7"])
sub_records = st.builds(SubRecord, keys, hash_keys, st.binary(max_size=300))
several = st.lists(sub_records, min_size=1, max_size=8)


def framed(message: bytes) -> bytes:
    return b"\xf3\x89\x9a\xc2" + message + hashlib.md5(message).digest()


def in_a_record(fields: str) -> bytes:
    """A message with the key "a" and one record of these fields (hex)."""
    record = bytes.fromhex(fields)
    return bytes.fromhex("0A 01 61 1A") + bytes([len(record)]) + record


def protobuf_class():
    """AggregatedRecord in protobuf's own library, of the fields that aggregation-format.md lists."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="aggregated.proto", package="kpl", syntax="proto2")
    for message, fields in {
        "Tag": [("key", kinds.LABEL_REQUIRED, kinds.TYPE_STRING, ""), ("value", kinds.LABEL_OPTIONAL, kinds.TYPE_STRING, "")],
        "Record": [
            ("partition_key_index", kinds.LABEL_REQUIRED, kinds.TYPE_UINT64, ""),
            ("explicit_hash_key_index", kinds.LABEL_OPTIONAL, kinds.TYPE_UINT64, ""),
            ("data", kinds.LABEL_REQUIRED, kinds.TYPE_BYTES, ""),
            ("tags", kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE, ".kpl.Tag"),
        ],
        "AggregatedRecord": [
            ("partition_key_table", kinds.LABEL_REPEATED, kinds.TYPE_STRING, ""),
            ("explicit_hash_key_table", kinds.LABEL_REPEATED, kinds.TYPE_STRING, ""),
            ("records", kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE, ".kpl.Record"),
        ],
    }.items():
        made = file.message_type.add(name=message)
        for number, (name, label, kind, of) in enumerate(fields, 1):
            made.field.add(name=name, number=number, label=label, type=kind, type_name=of or None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kpl.AggregatedRecord"))


AggregatedRecord = protobuf_class()


def by_protobuf(message: bytes) -> list[SubRecord]:
    parsed = AggregatedRecord.FromString(message)
    partition_keys, explicit_hash_keys = parsed.partition_key_table, parsed.explicit_hash_key_table
    return [
        SubRecord(
            partition_keys[record.partition_key_index],
            explicit_hash_keys[record.explicit_hash_key_index] if record.HasField("explicit_hash_key_index") else None,
            record.data,
        )
        for record in parsed.records
    ]


def test_bytes_written_by_hand_are_read():
    assert unpack(framed(KEYS + HASH_KEYS + PLAIN + HASHED)) == [HI, YO]


def test_the_same_bytes_are_written():
    """Tables hold what is used, in the order of first use: "42" is the only explicit hash key, so its index is 0."""
    message = bytes.fromhex("0A 01 61  0A 02 62 63  12 02 34 32") + PLAIN + HASHED.replace(b"\x10\x01", b"\x10\x00")
    assert pack([HI, YO]) == framed(message)
    assert pack(iter([HI])) == framed(bytes.fromhex("0A 01 61") + PLAIN)


@pytest.mark.parametrize("text", BY_AWS, ids=["one key", "several keys"])
def test_what_aws_module_writes_is_read_and_written_alike(text):
    data = bytes.fromhex(text)
    assert unpack(data) == BY_AWS[text] and pack(BY_AWS[text]) == data


def test_a_key_is_written_once_and_a_varint_goes_on_after_127():
    """The index 299 = 0b10_0101011 is AB 02: the lower 7 bits under the bit that says that more follow, then the rest."""
    records = [SubRecord(f"k{number % 300}", "7", b"\0") for number in range(600)]
    data = pack(records)
    assert unpack(data) == records
    assert data.count(b"\x0a\x04k299") == 1 and data.count(b"\x12\x017") == 1
    assert data.count(bytes.fromhex("1A 08  08 AB 02  10 00  1A 01 00")) == 2


@given(records=several)
def test_protobuf_reads_what_is_packed_and_so_does_unpack(records):
    data = pack(records)
    message = data[4:-16]
    assert data == framed(message) and by_protobuf(message) == records and unpack(data) == records
    parsed = AggregatedRecord.FromString(message)
    assert list(parsed.partition_key_table) == list(dict.fromkeys(each.partition_key for each in records))
    used = [each.explicit_hash_key for each in records if each.explicit_hash_key is not None]
    assert list(parsed.explicit_hash_key_table) == list(dict.fromkeys(used))


@given(records=several, tags=st.lists(st.tuples(keys, keys), max_size=3))
def test_what_protobuf_writes_without_sharing_keys_is_read_and_tags_are_skipped(records, tags):
    """Sharing keys is optional in the format."""
    message = AggregatedRecord()
    for each in records:
        made = message.records.add(partition_key_index=len(message.partition_key_table), data=each.data)
        message.partition_key_table.append(each.partition_key)
        if each.explicit_hash_key is not None:
            made.explicit_hash_key_index = len(message.explicit_hash_key_table)
            message.explicit_hash_key_table.append(each.explicit_hash_key)
        for key, value in tags:
            made.tags.add(key=key, value=value)
    assert unpack(framed(message.SerializeToString())) == records


ODD = {
    "tables after the records": (PLAIN + HASHED + HASH_KEYS + KEYS, [HI, YO]),
    "keys that nobody has": (KEYS + HASH_KEYS, []),
    "a field that is not known, of each wire type": (
        bytes.fromhex("20 FF 01  29 0102030405060708  32 02 FFFF  3D 01020304") + KEYS + PLAIN,
        [HI],
    ),
    "a known field's number with another wire type": (bytes.fromhex("08 05") + KEYS + PLAIN, [HI]),
    "a field written twice": (in_a_record("08 05 08 00 1A 01 78 1A 02 68 69"), [HI]),
    "a varint longer than it need be": (in_a_record("08 80 80 00 1A 82 00 68 69"), [HI]),
    "data that is itself aggregated": (
        KEYS + bytes.fromhex("1A 06  08 00  1A 02") + b"\xf3\x89",
        [SubRecord("a", None, b"\xf3\x89")],
    ),
    "an empty partition key": (bytes.fromhex("0A 00") + PLAIN, [SubRecord("", None, b"hi")]),
}


@pytest.mark.parametrize("case", ODD)
def test_what_is_odd_but_allowed_is_read_as_protobuf_reads_it(case):
    message, records = ODD[case]
    assert unpack(framed(message)) == records == by_protobuf(message)


GOOD = framed(KEYS + PLAIN)
NOT_AGGREGATED = {
    "nothing": b"",
    "JSON": b'{"event_id": "1"}',
    "the magic alone": MAGIC,
    "magic and less than an MD5": MAGIC + b"\0" * 15,
    "magic and the MD5 of no message": framed(b""),
    "another magic": b"\xf3\x89\x9a\xc3" + GOOD[4:],
    "a byte before": b"\0" + GOOD,
    "a byte after": GOOD + b"\0",
}


@pytest.mark.parametrize("case", NOT_AGGREGATED)
def test_what_is_not_aggregated_is_not_touched(case):
    """The KCL's rule (AggregatorUtil.deaggregate): the magic, more than 16 bytes after it, and the right MD5, or none of it."""
    assert unpack(NOT_AGGREGATED[case]) is None


def test_every_truncation_is_not_aggregated():
    assert [unpack(GOOD[:length]) for length in range(len(GOOD))] == [None] * len(GOOD)


DAMAGED = {
    "a partition key's index outside its table": (
        in_a_record("08 01 1A 00"),
        "partition_key_index = 1 is outside its table of 1",
    ),
    "an index of 2^64 - 1": (
        in_a_record("08 FFFFFFFFFFFFFFFFFF01 1A 00"),
        "partition_key_index = 18446744073709551615 is outside its table of 1",
    ),
    "an explicit hash key's index outside its table": (
        in_a_record("08 00 10 00 1A 00"),
        "explicit_hash_key_index = 0 is outside its table of 0",
    ),
    "no partition key": (in_a_record("1A 00"), "a record has no partition_key_index"),
    "no data": (in_a_record("08 00"), "a record has no data"),
    "an empty record": (in_a_record(""), "a record has no partition_key_index"),
    "data as a number": (in_a_record("08 00 18 05"), "a record has no data"),
    "more bytes promised than there are": (KEYS + bytes.fromhex("1A 06 08 00"), "field 3 has 6 bytes, 2 are left"),
    "2^63 bytes promised": (bytes.fromhex("0A 80808080808080808001 61"), "field 1 has 9223372036854775808 bytes, 1 are left"),
    "4 of 8 bytes": (bytes.fromhex("21 00000000"), "field 4 has 8 bytes, 4 are left"),
    "a length that is missing": (bytes.fromhex("0A"), "a number does not end within 10 bytes or the message"),
    "a varint of 11 bytes": (in_a_record("08 8080808080808080808000 1A 00"), "a number does not end within 10 bytes"),
    "a group": (bytes.fromhex("23 24"), "field 4 has the wire type 3, not one of 0, 1, 2, 5"),
    "no wire type": (bytes.fromhex("0F"), "field 1 has the wire type 7, not one of 0, 1, 2, 5"),
    "a partition key that is no text": (bytes.fromhex("0A 01 FF") + PLAIN, "a key is not UTF-8"),
    "an explicit hash key that is no text": (KEYS + bytes.fromhex("12 01 FF") + PLAIN, "a key is not UTF-8"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_message_of_the_right_md5_is_refused_as_a_whole(case):
    """Also where good records stand before it: the KCL would keep those, and lose the rest."""
    message, reason = DAMAGED[case]
    for damaged in (message, PLAIN + message):
        with pytest.raises(DecodeError) as caught:
            unpack(framed(damaged))
        assert str(caught.value).startswith("not a KPL-aggregated event: ") and reason in str(caught.value)
        assert caught.value.codec == "KPL-aggregated" and "\n" not in str(caught.value)


def read_or_refused(message: bytes) -> None:
    """Refused by a DecodeError, or read, and then as protobuf reads it (unless that refuses what we skip: tags, groups)."""
    try:
        records = unpack(framed(message))
    except DecodeError as error:
        assert len(str(error)) < 200
        return
    if not message:
        assert records is None
        return
    assert sum(len(each.data) for each in records) <= len(message)
    try:
        expected = by_protobuf(message)
    except ProtobufError:
        return
    assert records == expected


@given(data=st.binary(max_size=200))
def test_random_bytes_are_not_aggregated(data):
    assert unpack(data) is None and unpack(MAGIC + data) is None


@given(message=st.binary(max_size=200))
def test_random_messages_of_the_right_md5_are_read_or_refused(message):
    read_or_refused(message)


@given(records=several, data=st.data())
def test_messages_cut_and_changed_are_read_or_refused(records, data):
    message = bytearray(pack(records)[4:-16])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message) - 1))
        message[at] = data.draw(st.integers(0, 255))
    read_or_refused(bytes(message))
    read_or_refused(bytes(message[: data.draw(st.integers(0, len(message)))]))


def test_a_record_of_which_any_bit_is_changed_is_not_aggregated():
    for bit in range(8 * len(GOOD)):
        changed = bytearray(GOOD)
        changed[bit // 8] ^= 1 << bit % 8
        assert unpack(bytes(changed)) is None


def test_a_megabyte_of_the_smallest_records_is_read():
    """Each takes 6 bytes; there is no nesting, so nothing grows beyond their number."""
    smallest = bytes.fromhex("1A 04  08 00  1A 00")
    message = bytes.fromhex("0A 01 61") + smallest * (2**20 // 6)
    records = unpack(framed(message))
    assert len(records) == 174_762 and set(map(hash, records)) == {hash(SubRecord("a", None, b""))}


REFUSED = {
    "no record": ([], "records = [] is not allowed: at least 1 record"),
    "an empty key": ([SubRecord("", None, b"")], "partition_key = '' is not allowed: 1 to 256 Unicode characters"),
    "a key of 257 characters": ([SubRecord("ü" * 257, None, b"")], "is not allowed: 1 to 256 Unicode characters"),
    "a lone surrogate": ([HI, SubRecord("a\ud800", None, b"")], r"partition_key = 'a\ud800' is not allowed"),
    "a hash key of 2^128": ([SubRecord("a", str(2**128), b"")], "a decimal number from 0 to 2^128 - 1"),
    "a hash key below 0": ([SubRecord("a", "-1", b"")], "explicit_hash_key = '-1' is not allowed"),
    "a hash key that begins with 0": ([SubRecord("a", "007", b"")], "explicit_hash_key = '007' is not allowed"),
    "an empty hash key": ([SubRecord("a", "", b"")], "explicit_hash_key = '' is not allowed"),
    "digits that are not ASCII": ([SubRecord("a", "٣", b"")], "is not allowed: a decimal number"),
    "a hash key with a line's end": ([SubRecord("a", "7\n", b"")], r"explicit_hash_key = '7\n' is not allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_kinesis_would_not_take_is_not_packed(case):
    records, message = REFUSED[case]
    with pytest.raises(SettingError) as caught:
        pack(records)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_limits_themselves_are_packed():
    edges = [SubRecord("🛒" * 256, str(2**128 - 1), b""), SubRecord("\n", "0", struct.pack("<q", -1))]
    assert unpack(pack(edges)) == edges
