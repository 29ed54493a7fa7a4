"""Percentiles against the exact order statistics; the encoding against the format's description, byte by byte."""

import base64
import struct
import zlib

import numpy as np
import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import MeasureError, SettingError, TooFewSamples
from workbench.measure.histogram import Histogram, samples_needed

_HOUR_MS = 3_600_000.0

few = settings(max_examples=25, deadline=None)  # the library walks all its buckets for a mean

some_ms = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 5), st.floats(0, 2000), st.floats(0, _HOUR_MS)), min_size=20, max_size=300
).map(np.array)


def encoded(counts: bytes, *, lowest: int = 1, highest: int = 3_600_000_000, digits: int = 3) -> str:
    """HdrHistogram's V2 format, compressed: cookie and length, then deflated the header of 40 bytes and the counts."""
    header = struct.pack(">IIIIQQd", 0x1C849313, len(counts), 0, digits, lowest, highest, 1.0)
    packed = zlib.compress(header + counts)
    return base64.b64encode(struct.pack(">II", 0x1C849314, len(packed)) + packed).decode()


@few
@given(some_ms, st.floats(0.01, 99.99))
def test_a_percentile_is_the_order_statistic_to_three_digits(ms, p):
    """HDR's rank is p·n/100 rounded half up, at least 1; a value stands for all up to 1/1024 below it."""
    ms = np.resize(ms, samples_needed(p)) if samples_needed(p) < 5_000 else np.repeat(ms, samples_needed(p) // len(ms) + 1)
    exact = np.sort(np.rint(ms * 1000))[max(1, int(p * len(ms) / 100 + 0.5)) - 1] / 1000
    found = Histogram.of(ms).percentile(p)
    assert exact <= found <= exact * (1 + 1 / 1024)
    assert found == pytest.approx(exact, rel=0.001)
    if exact < 2.048:
        assert found == exact


@few
@given(some_ms)
def test_mean_maximum_and_count_are_those_of_the_samples_to_three_digits(ms):
    histogram, us = Histogram.of(ms), np.rint(ms * 1000)
    assert histogram.count == len(ms)
    assert histogram.max == pytest.approx(us.max() / 1000, rel=0.001) and histogram.max >= us.max() / 1000
    assert histogram.mean == pytest.approx(us.mean() / 1000, rel=0.001)


def test_values_are_whole_microseconds_and_zero_is_one_of_them():
    histogram = Histogram.of([0.0] * 30 + [0.0004] * 10 + [0.0006] * 60)
    assert histogram.count == 100
    assert histogram.percentile(40) == 0.0 and histogram.percentile(41) == 0.001
    assert histogram.mean == pytest.approx(0.0006)
    only_zero = Histogram.of(np.zeros(20))
    assert (only_zero.count, only_zero.percentile(50), only_zero.mean, only_zero.max) == (20, 0.0, 0.0, 0.0)
    assert Histogram.decode(only_zero.encode()).count == 20


@pytest.mark.parametrize("wrong", [-0.001, -1e-9, float("nan"), _HOUR_MS + 0.001, float("inf"), float("-inf")])
def test_what_is_no_latency_is_refused_and_not_clamped(wrong):
    with pytest.raises(MeasureError, match=r"ms cannot be recorded: a latency is from 0 to 3,600,000 ms$"):
        Histogram.of([1.0, wrong, 2.0])


def test_an_hour_is_still_a_latency():
    assert Histogram.of([_HOUR_MS]).max == pytest.approx(_HOUR_MS, rel=0.001)


@pytest.mark.parametrize(
    ("p", "needed"), [(5, 200), (50, 20), (90, 100), (95, 200), (99, 1_000), (99.9, 10_000), (99.99, 100_000)]
)
def test_a_percentile_needs_ten_samples_beyond_it(p, needed):
    assert samples_needed(p) == needed
    assert Histogram.of(np.full(needed, 7.0)).percentile(p) == 7.003  # the end of 7.000 to 7.003 ms, which count as one
    with pytest.raises(TooFewSamples) as refused:
        Histogram.of(np.full(needed - 1, 7.0)).percentile(p)
    assert (refused.value.percentile, refused.value.needed, refused.value.samples) == (p, needed, needed - 1)


def test_the_refusal_says_what_it_needs_and_what_there_is():
    with pytest.raises(MeasureError, match=r"^p99 needs 1,000 samples, there are 170$"):
        Histogram.of(np.ones(170)).percentile(99)
    with pytest.raises(MeasureError, match=r"^p99\.9 needs 10,000 samples, there is 1$"):
        Histogram.of([1.0]).percentile(99.9)


@pytest.mark.parametrize("p", [0, 100, -1, 100.5, float("nan")])
def test_the_ends_are_no_percentiles(p):
    with pytest.raises(SettingError, match="more than 0 and less than 100"):
        Histogram.of(np.ones(100)).percentile(p)


def test_percentiles_are_those_that_there_are_samples_for():
    ms = np.arange(1000) / 1000
    assert Histogram.of(ms).percentiles() == {50: 0.499, 95: 0.949, 99: 0.989}  # ranks 500, 950 and 990
    assert Histogram.of(ms[:999]).percentiles() == {50: 0.499, 95: 0.948}  # ranks 500 and 949
    assert Histogram.of([]).percentiles() == {}


def test_no_samples_have_no_mean_and_no_maximum():
    empty = Histogram.of([])
    assert empty.count == 0
    for figure in ("mean", "max"):
        with pytest.raises(MeasureError, match="a histogram of 0 samples has no m"):
            getattr(empty, figure)


@few
@given(some_ms, some_ms)
def test_merging_is_recording_together(first, second):
    one, other = Histogram.of(first), Histogram.of(second)
    before = one.encode()
    merged = one.add(other)
    assert merged.encode() == other.add(one).encode() == Histogram.of(np.concatenate([first, second])).encode()
    assert merged.count == len(first) + len(second) and merged.mean == Histogram.of([*first, *second]).mean
    assert one.encode() == before


def test_merging_with_nothing_changes_nothing():
    some, none = Histogram.of([0.0, 1.5, 900.0]), Histogram.of([])
    assert some.add(none).encode() == none.add(some).encode() == some.encode()
    assert none.add(none).encode() == none.encode()


@few
@given(some_ms)
def test_what_was_encoded_is_decoded(ms):
    histogram = Histogram.of(ms)
    back = Histogram.decode(histogram.encode())
    assert back.encode() == histogram.encode()
    assert (back.count, back.mean, back.max) == (histogram.count, histogram.mean, histogram.max)
    assert back.percentiles() == histogram.percentiles()
    assert back.add(histogram).count == 2 * len(ms)


def test_an_empty_histogram_is_decoded_as_one():
    assert Histogram.decode(Histogram.of([]).encode()).count == 0


def test_the_encoding_is_hdrhistograms_own():
    """Counts are ZigZag LEB128, a run of n zeros is -n: three times 0, once 2 µs, twice 4096 and 4097 µs, which count as one.

    Index 3072 holds 4096 to 4099 µs: 2048 single values, then 1024 pairs up to 4095.
    """
    zeros = 2 * 3069 - 1  # -3069, ZigZag
    counts = bytes([6, 1, 2, 0x80 | zeros & 0x7F, zeros >> 7, 4])
    by_hand = encoded(counts)
    histogram = Histogram.of(np.array([0, 0, 0, 2, 4096, 4097]) / 1000)
    assert Histogram.decode(by_hand).encode() == histogram.encode()
    packed = base64.b64decode(histogram.encode())
    assert struct.unpack(">II", packed[:8]) == (0x1C849314, len(packed) - 8)
    assert zlib.decompress(packed[8:]) == zlib.decompress(base64.b64decode(by_hand)[8:])
    assert HdrHistogram.decode(histogram.encode()).get_total_count() == 6


@settings(deadline=None)
@given(st.data())
def test_damaged_text_is_refused_unless_it_means_the_same(data):
    text = Histogram.of(np.arange(50.0)).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["cut", "changed", "dropped"]))
    other = data.draw(st.sampled_from("ABZaz09+/=!ä\n"))
    damaged = {"cut": text[:at], "changed": text[:at] + other + text[at + 1 :], "dropped": text[:at] + text[at + 1 :]}[kind]
    try:
        assert Histogram.decode(damaged).encode() == text
    except MeasureError as error:
        assert "\n" not in str(error)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_counts_that_are_none_are_refused(counts):
    """The checksum is right, so that the library's own decoder sees them."""
    try:
        assert Histogram.decode(encoded(counts)).count >= 0
    except MeasureError as error:
        assert "no encoded HdrHistogram" in str(error)


@pytest.mark.parametrize("text", ["", "no histogram", "AAAA", "ä", base64.b64encode(b"\x1c\x84\x93\x14\0\0\0\0").decode()])
def test_other_text_is_refused(text):
    with pytest.raises(MeasureError, match=f"^{len(text)} characters are no encoded HdrHistogram: ."):
        Histogram.decode(text)


@pytest.mark.parametrize("kind", [{"highest": 60_000_000}, {"lowest": 1000}, {"digits": 2}, {"lowest": 0}, {"highest": 2**63}])
def test_a_histogram_of_another_range_or_precision_is_refused(kind):
    with pytest.raises(MeasureError, match=r"is none of 1 to 3,600,000,000 µs with 3$"):
        Histogram.decode(encoded(bytes([6]), **kind))
