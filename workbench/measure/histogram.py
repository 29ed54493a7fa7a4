"""Latencies as an HdrHistogram (G. Tene, hdrhistogram.org): of bounded size whatever it holds, and mergeable without loss.

Values are whole microseconds from 0 to 1 hour, kept to 3 significant digits: exactly below 2.048 ms, above it within 1/1024.
"""

import math
import zlib

import numpy as np
from hdrh.codec import HdrCookieException, HdrHistogramEncoder, HdrLengthException
from hdrh.histogram import HdrHistogram

from workbench.errors import MeasureError, SettingError, TooFewSamples

PERCENTILES = (50.0, 95.0, 99.0, 99.9)

_LOWEST_US, _HIGHEST_US, _DIGITS = 1, 3_600_000_000, 3
BEYOND = 10  # samples beyond a percentile that it takes to state it: p99 from 1,000, p99.9 from 10,000
# What the library and what it calls raise for damaged text; binascii's error is a ValueError.
_DAMAGE = (ValueError, TypeError, IndexError, OverflowError, RuntimeError, HdrCookieException, HdrLengthException, zlib.error)


class Histogram:
    """The distribution of some latencies, in ms. It never changes: ``add`` gives a new one."""

    def __init__(self, recorded: HdrHistogram) -> None:
        """Of an HdrHistogram of whole µs that nobody else changes; ``of`` and ``decode`` make one."""
        self._recorded = recorded

    @classmethod
    def of(cls, ms: np.ndarray) -> "Histogram":
        """Of latencies float[n], each rounded to a whole µs. Zero is a sample.

        Raises:
            MeasureError: a value is negative, NaN or more than 1 hour; nothing is clamped.
        """
        ms = np.asarray(ms, float).ravel()
        us = np.rint(ms * 1000)
        for wrong in ms[~((ms >= 0) & (us <= _HIGHEST_US))][:1]:  # NaN compares as neither
            raise MeasureError(f"{wrong:g} ms cannot be recorded: a latency is from 0 to {_HIGHEST_US // 1000:,} ms")
        recorded = _empty()
        values, counts = np.unique(us.astype(np.int64), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            recorded.record_value(value, count)
        return cls(recorded)

    def add(self, other: "Histogram") -> "Histogram":
        """Both together, as if all had been recorded in one."""
        merged = _empty()
        merged.add(self._recorded)
        merged.add(other._recorded)
        return Histogram(merged)

    @property
    def count(self) -> int:
        """How many samples there are."""
        return self._recorded.get_total_count()

    @property
    def mean(self) -> float:
        """Mean, ms.

        Raises:
            MeasureError: there are no samples.
        """
        self._check_any("mean")
        return self._recorded.get_mean_value() / 1000

    @property
    def max(self) -> float:
        """The largest, ms: like every value to 3 digits, rounded up.

        Raises:
            MeasureError: there are no samples.
        """
        self._check_any("maximum")
        return self._recorded.get_max_value() / 1000

    def percentile(self, p: float) -> float:
        """The value, in ms, that ``p`` percent of the samples do not exceed: HDR's, the sample of rank ⌊p·n/100 + ½⌋, rounded up.

        Raises:
            TooFewSamples: see ``samples_needed``.
            SettingError: ``p`` is no percentile that samples can carry.
        """
        if self.count < (needed := samples_needed(p)):
            raise TooFewSamples(p, needed, self.count)
        return self._recorded.get_value_at_percentile(p) / 1000

    def percentiles(self) -> dict[float, float]:
        """Those of ``PERCENTILES`` that there are enough samples for, with their values in ms."""
        return {p: self.percentile(p) for p in PERCENTILES if self.count >= samples_needed(p)}

    def encode(self) -> str:
        """HdrHistogram's compressed V2 format in base64, as its log files carry it: other tools read it and merge it."""
        return self._recorded.encode().decode("ascii")

    @classmethod
    def decode(cls, text: str) -> "Histogram":
        """What ``encode`` wrote.

        Raises:
            MeasureError: the text is damaged, or of a histogram with another range or precision.
        """
        try:
            payload = HdrHistogramEncoder.decode(text)
            header = payload.payload
            kind = (header.lowest_trackable_value, header.highest_trackable_value, header.significant_figures)
            if kind != (_LOWEST_US, _HIGHEST_US, _DIGITS):
                found = "{} to {:,} with {} digits".format(*kind)
                raise MeasureError(f"a histogram of {found} is none of {_LOWEST_US} to {_HIGHEST_US:,} µs with {_DIGITS}")
            return cls(HdrHistogram(*kind, hdr_payload=payload))
        except _DAMAGE as error:
            reason = str(error) or "it does not begin as one"
            raise MeasureError(f"{len(text):,} characters are no encoded HdrHistogram: {reason}") from None

    def _check_any(self, figure: str) -> None:
        if not self.count:
            raise MeasureError(f"a histogram of 0 samples has no {figure}")


def samples_needed(p: float) -> int:
    """How many samples it takes to state percentile ``p``: ten beyond it, so p50 20, p95 200, p99 1,000, p99.9 10,000.

    Below the median ten on its other side.

    Raises:
        SettingError: ``p`` is not between 0 and 100; no number of samples is enough for the ends.
    """
    if not 0 < p < 100:
        raise SettingError("percentile", p, "more than 0 and less than 100")
    return math.ceil(round(100 * BEYOND / min(p, 100 - p), 6))  # 100 - 99.9 is not quite 0.1


def _empty() -> HdrHistogram:
    return HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
