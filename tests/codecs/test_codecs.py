"""What every codec must do. A new one is one line in ``CODECS`` and is tested here without another."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.codecs import CODECS, codec
from workbench.errors import DecodeError, EventRejected, SettingError
from workbench.events import Event

texts = st.text(st.characters(exclude_categories=["Cs"]))  # any Unicode text; Cs: lone surrogates, which are no text
whole = st.integers(-(2**63), 2**63 - 1)
events = st.builds(
    Event, event_id=texts, user_id=texts, product_id=texts, timestamp_ms=whole, trace_id=texts, schema_version=whole
)
EVENT = Event(event_id="9-1", user_id="77", product_id="1082185", timestamp_ms=1_509_971_553_123, trace_id="ab" * 16)

every_codec = pytest.mark.parametrize("name", CODECS)


def decoded_or_refused(name: str, data: bytes) -> None:
    """An event or a DecodeError of one line; anything else fails the test."""
    try:
        assert isinstance(codec(name).decode(data), Event)
    except DecodeError as error:
        assert error.codec == name and error.reason and "\n" not in str(error)


@every_codec
@given(event=events)
def test_what_was_encoded_is_decoded(name, event):
    """Any text, emoji and controls included, and every 64-bit integer."""
    data = codec(name).encode(event)
    assert type(data) is bytes and codec(name).decode(data) == event


@every_codec
def test_an_emoji_and_a_zero_byte_survive(name):
    event = msgspec.structs.replace(EVENT, user_id="🛒 \0 é", timestamp_ms=2**63 - 1)
    assert codec(name).decode(codec(name).encode(event)) == event


@every_codec
@pytest.mark.parametrize("field", ["event_id", "user_id", "product_id", "trace_id"])
def test_a_lone_surrogate_is_refused_by_a_clear_error(name, field):
    broken = msgspec.structs.replace(EVENT, **{field: "a\ud800"})
    with pytest.raises(EventRejected, match="not Unicode") as caught:
        codec(name).encode(broken)
    str(caught.value).encode()  # can be logged


@every_codec
@given(data=st.binary(max_size=300))
def test_random_bytes_are_an_event_or_refused(name, data):
    decoded_or_refused(name, data)


@every_codec
def test_every_truncation_is_refused(name):
    data = codec(name).encode(EVENT)
    for length in range(len(data)):
        with pytest.raises(DecodeError):
            codec(name).decode(data[:length])


@every_codec
@given(event=events, data=st.data())
def test_flipped_bits_are_an_event_or_refused(name, event, data):
    damaged = bytearray(codec(name).encode(event))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    decoded_or_refused(name, bytes(damaged))


@every_codec
def test_every_single_flipped_bit_is_an_event_or_refused(name):
    data = codec(name).encode(EVENT)
    for position in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << position % 8
        decoded_or_refused(name, bytes(damaged))


def test_an_unknown_codec_is_refused_by_name():
    with pytest.raises(SettingError, match=f"one of {', '.join(CODECS)}"):
        codec("xml")


# JSON itself


def test_json_is_one_object_with_the_fields_by_name():
    assert codec("json").encode(EVENT) == (
        b'{"event_id":"9-1","user_id":"77","product_id":"1082185","timestamp_ms":1509971553123,"trace_id":"'
        + b"ab" * 16
        + b'","schema_version":1}'
    )


def test_json_ignores_fields_that_it_does_not_know():
    """An old reader survives a new writer."""
    data = codec("json").encode(EVENT)[:-1] + b',"price":1.5,"basket":{"id":[1,null]}}'
    assert codec("json").decode(data) == EVENT


def test_json_without_a_schema_version_is_of_the_first():
    data = codec("json").encode(EVENT).replace(b',"schema_version":1', b"")
    assert codec("json").decode(data).schema_version == 1


@pytest.mark.parametrize("field", ["event_id", "user_id", "product_id", "timestamp_ms", "trace_id"])
def test_json_names_the_missing_field(field):
    fields = {name: value for name, value in msgspec.to_builtins(EVENT).items() if name != field}
    with pytest.raises(DecodeError, match=f"missing required field {field}"):
        codec("json").decode(msgspec.json.encode(fields))


@pytest.mark.parametrize(
    ("field", "value"),
    [("user_id", "7"), ("event_id", "null"), ("timestamp_ms", '"1"'), ("timestamp_ms", "1.5"), ("trace_id", "[]")],
)
def test_json_names_the_field_of_the_wrong_type(field, value):
    fields = {name: msgspec.json.encode(entry).decode() for name, entry in msgspec.to_builtins(EVENT).items()} | {field: value}
    data = "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"
    with pytest.raises(DecodeError, match=field):
        codec("json").decode(data.encode())


@pytest.mark.parametrize("nest", [b"[", b'{"a":'])
def test_json_nested_too_deeply_is_refused(nest):
    """A megabyte of brackets fits in one record, and must not fail the batch that it came in."""
    with pytest.raises(DecodeError, match="nested too deeply"):
        codec("json").decode(codec("json").encode(EVENT)[:-1] + b',"extra":' + nest * 100_000)


def test_json_escaped_lone_surrogates_are_refused():
    with pytest.raises(DecodeError, match="surrogate"):
        codec("json").decode(codec("json").encode(EVENT).replace(b'"77"', b'"\\ud800"'))
