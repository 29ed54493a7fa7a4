"""Whether a run was really loaded as it says, and whether the pipeline kept up with it.

All functions are pure and take a run's events (see ``Timeline.frame``), or a part of them. An event is sent at ``due_s`` +
``send_ms`` / 1000 and answered at ``due_s`` + ``latency_ms`` / 1000, in s on the scale of ``due_s``; an event whose ``send_ms``
is NaN counts as not sent.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from workbench.errors import SettingError

# A run kept up within these limits: it sent 99% of the offered rate, and its backlog did not grow.
LEAST_OFFER_KEPT_PCT = 99.0
MOST_BACKLOG_GROWTH_PCT = 1.0  # of the events: what a steady backlog differs by from one tenth of a run to another

_CHANCE = 3.0  # standard deviations
_ENDS = 0.1  # the share of the sending window at each of its ends that is compared


def offer(events: pd.DataFrame) -> dict[str, float]:
    """``offered_per_s`` from the due times, ``sent_per_s`` from the sending times, and ``offer_kept_pct``, sent in % of offered.

    A rate of n events is (n - 1) / (last - first). ``offer_kept_pct`` passes 100 a little where the first event was sent later
    than the last. What is no rate is NaN: of fewer than two events, or of events at one moment, as all due times of rate 0 are.
    """
    offered, sent = _rate(events.due_s), _rate(_sent_s(events))
    return {"offered_per_s": offered, "sent_per_s": sent, "offer_kept_pct": 100 * sent / offered}


def goodput(events: pd.DataFrame) -> float:
    """Events answered per s, from the first due time to the last answer; 0 if none was, NaN for no events or no time."""
    answered_s = _answered_s(events)
    if len(events) and answered_s.empty:
        return 0.0
    span_s = float(answered_s.max() - events.due_s.min())
    return len(answered_s) / span_s if span_s > 0 else float("nan")


def backlog(events: pd.DataFrame, every_s: float = 0.1) -> pd.DataFrame:
    """(t_s, backlog) every ``every_s`` s from the first due time until nothing changes any more: events sent and not settled.

    A lost event stays in the backlog. A dead one is left out: when it was given up is not among its times.

    Raises:
        SettingError: ``every_s`` is not more than 0.
    """
    if not every_s > 0:
        raise SettingError("every_s", every_s, "more than 0 s")
    sent_s, settled_s = _stays(events)
    if not len(sent_s):
        return pd.DataFrame({"t_s": np.empty(0), "backlog": np.empty(0, int)})
    first_s, last_s = events.due_s.min(), np.concatenate([sent_s, settled_s[np.isfinite(settled_s)]]).max()
    t_s = first_s + every_s * np.arange(np.ceil((last_s - first_s) / every_s) + 1)
    waiting = np.searchsorted(np.sort(sent_s), t_s, side="right") - np.searchsorted(np.sort(settled_s), t_s, side="right")
    return pd.DataFrame({"t_s": t_s, "backlog": waiting})


def backlog_max(events: pd.DataFrame) -> float:
    """The most events that were sent and not settled at one time; NaN if none was sent. Lost and dead ones as in ``backlog``."""
    sent_s, settled_s = map(np.sort, _stays(events))
    if not len(sent_s):
        return float("nan")
    sent, settled = np.arange(1, len(sent_s) + 1), np.searchsorted(settled_s, sent_s, side="right")  # it only grows at a sending
    return float((sent - settled).max())


def backlog_growth_pct(events: pd.DataFrame) -> float:
    """Mean backlog in the last tenth of the sending window less that in the first, in % of the events; 0 if it may be chance.

    The window is from the first sending to the last. NaN if no time passes between them. A steady backlog of mean b varies by
    √b (it is Poisson-distributed if events come at random and are served beside each other, M/G/∞): what is within three times
    that is no growth, or a short run of a few events a second would seem to fall behind.
    """
    sent_s, settled_s = _stays(events)
    if not len(sent_s) or (window_s := np.ptp(sent_s)) == 0:
        return float("nan")
    end_s = _ENDS * window_s

    def mean(from_s: float) -> float:  # over the end that begins there, exactly: the time that events spend in it
        stay_s = np.minimum(settled_s, from_s + end_s) - np.maximum(sent_s, from_s)
        return stay_s[stay_s > 0].sum() / end_s

    first = mean(sent_s.min())
    growth = mean(sent_s.max() - end_s) - first
    return 0.0 if abs(growth) <= _CHANCE * first**0.5 else float(100 * growth / len(events))


def kept_up(figures: Mapping[str, float]) -> bool:
    """Whether a run with these figures (``offer_kept_pct``, ``backlog_growth_pct``, ``lost``) carried its load to the end.

    A run without an offered rate (all due at once) did not: NaN is within no limit.
    """
    return bool(
        figures["offer_kept_pct"] >= LEAST_OFFER_KEPT_PCT
        and figures["backlog_growth_pct"] <= MOST_BACKLOG_GROWTH_PCT
        and figures["lost"] == 0
    )


def _sent_s(events: pd.DataFrame) -> pd.Series:
    return events.due_s + events.send_ms / 1000


def _answered_s(events: pd.DataFrame) -> pd.Series:
    return (events.due_s + events.latency_ms / 1000)[events.outcome == "answered"]


def _stays(events: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """When each event of the backlog came into it and left it (infinity: never), float[n] each."""
    own = events[events.outcome.isin(["answered", "lost"]) & events.send_ms.notna()]
    return _sent_s(own).to_numpy(), _answered_s(own).reindex(own.index).fillna(np.inf).to_numpy()


def _rate(times_s: pd.Series) -> float:
    times_s = times_s.dropna()
    span_s = times_s.max() - times_s.min()
    return (len(times_s) - 1) / float(span_s) if span_s > 0 else float("nan")
