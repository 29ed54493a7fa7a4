"""What does one bad record cost? What notebook 03 sweeps over and concludes from its results."""

from collections.abc import Iterable, Mapping

import pandas as pd

from workbench.errors import SettingError
from workbench.finding import Figure, Finding
from workbench.runs import Run
from workbench.settings import Settings
from workbench.summaries import after_warmup, figures, percentile_of

FOR_EVER, WHOLE, SMALL, BISECT, FACTOR = "retry for ever", "whole batch", "batches of 10", "bisect", "bisect and factor 10"
# What each changes of AWS's defaults, which retry the whole batch for as long as the stream keeps it.
POLICIES: dict[str, dict[str, object]] = {
    FOR_EVER: {},
    WHOLE: {"maximum_retry_attempts": 2},
    SMALL: {"maximum_retry_attempts": 2, "batch_size": 10},
    BISECT: {"maximum_retry_attempts": 2, "bisect_batch_on_function_error": True},
    FACTOR: {"maximum_retry_attempts": 2, "bisect_batch_on_function_error": True, "parallelization_factor": 10},
}
_DEFAULTS = {
    "batch_size": 100,
    "parallelization_factor": 1,
    "maximum_retry_attempts": -1,
    "maximum_record_age_in_seconds": -1,
    "bisect_batch_on_function_error": False,
    "report_batch_item_failures": False,
}
# Source: Amazon Kinesis Data Streams developer guide, "Change the data retention period".
_NO_END = Figure(
    label=f"longest time without an answer, poison, {FOR_EVER}",
    value="until the stream forgets the record: 24 h by default",
    tag="quoted",
)
NONE, POISON, OUTAGE, STALL = "no fault", "poison", "outage", "stall"

Designs = Mapping[tuple[str, str], Settings]  # by fault and policy, in words


def designs(base: Settings, policies: Iterable[str], *, poison: int, outage_s: float, stall_s: float) -> Designs:
    """Every policy under every fault, but for poison that is retried for ever, which has no end.

    Raises:
        SettingError: there is no such policy.
    """
    faults = {NONE: {}, POISON: {"poison": poison}, OUTAGE: {"outage_s": outage_s}, STALL: {"stall_s": stall_s}}
    bases = {policy: under(base, policy) for policy in policies}
    return {
        (fault, policy): each.but(**planted)
        for fault, planted in faults.items()
        for policy, each in bases.items()
        if (fault, policy) != (POISON, FOR_EVER)
    }


def under(base: Settings, policy: str) -> Settings:
    """``base`` with AWS's defaults, but for what the policy changes.

    Raises:
        SettingError: there is no such policy.
    """
    if policy not in POLICIES:
        raise SettingError("policies", policy, f"some of {', '.join(POLICIES)}")
    return base.but(**(_DEFAULTS | POLICIES[policy]))


def named(frame: pd.DataFrame, made: Designs) -> pd.DataFrame:
    """What ``results.load`` or ``results.samples`` gives, with the columns ``fault`` and ``policy``, in the designs' order."""
    words = pd.DataFrame([(each.hash, *key) for key, each in made.items()], columns=["settings", "fault", "policy"])
    words["order"] = range(len(words))
    return frame.merge(words, on="settings").sort_values("order", kind="stable").drop(columns="order").reset_index(drop=True)


def outcomes(frame: pd.DataFrame, samples: pd.DataFrame, *, goal_ms: float) -> pd.DataFrame:
    """``frame``, a row a run, with ``late`` (answered after the goal) and ``bad_given_up``; both arguments are ``named``."""
    later = after_warmup(samples, frame.warmup.iloc[0])
    late = later[later.latency_ms > goal_ms].groupby(["settings", "run"]).size()
    of_run = pd.MultiIndex.from_frame(frame[["settings", "run"]])
    known = frame.error == ""
    return frame.assign(
        late=pd.Series(late.reindex(of_run, fill_value=0).to_numpy(float), frame.index).where(known),
        bad_given_up=frame.dead - frame.good_given_up,
    )


def table(frame: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """A row for each fault and policy: means over runs, but for the p99, which is that of all runs' answered events together.

    ``frame`` is what ``outcomes`` gives, ``samples`` is ``named``.
    """
    rows = {}
    for key, runs in frame.groupby(["fault", "policy"], sort=False):
        answered = after_warmup(samples[samples.settings.isin(runs.settings)], runs.warmup.iloc[0]).query("outcome == 'answered'")
        rows[key] = {
            "good given up": runs.good_given_up.mean(),
            "bad given up": runs.bad_given_up.mean(),
            "lost": runs.lost.max(),
            "late, %": 100 * runs.late.mean() / runs.events.iloc[0],
            "p99_ms, all runs": percentile_of(answered.latency_ms, 99),
            "standstill_s": runs.standstill_s.mean(),
            "delivered more than once": runs.retried.mean(),
            "deliveries per event": runs.deliveries_per_event.mean(),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["fault", "policy"]).round(2)


def finding(frame: pd.DataFrame, *, spoiled: Run, planted: int, question: str, provenance: dict[str, str]) -> Finding:
    """What the notebook says at the top of its report; every number comes from the results.

    ``frame`` is what ``outcomes`` gives. ``spoiled`` is a run with so many ``planted`` records that are no events.
    """
    shown = ["good_given_up", "bad_given_up", "late_pct", "standstill_s", "poison"]
    means = frame.assign(late_pct=100 * frame.late / frame.events).groupby(["fault", "policy"], sort=False)[shown].mean()
    cost = means.loc[POISON].good_given_up / means.loc[POISON].poison
    smoke = " (fewer than 5 runs a point: a trial, not a finding)" if frame.smoke.any() else ""
    lost = frame.lost.sum() + spoiled.lost
    aside = sum(letter.data is not None for letter in spoiled.dead_letters)  # a batch that was given up has no data
    return Finding(
        question=question,
        answer=(
            "One record at which the function always fails takes good events with it into the dead letters: "
            f"{', '.join(f'{_number(good)} with “{policy}”' for policy, good in cost.items())}; "
            f"{'no event' if lost == 0 else f'{lost:.0f} events'} of all runs {'was' if lost < 2 else 'were'} lost{smoke}."
        ),
        figures=(
            *(
                Figure(
                    label=f"bad records dead-lettered, {policy}", value=f"{_number(row.bad_given_up)} of {row.poison:.0f} a run"
                )
                for policy, row in means.loc[POISON].iterrows()
            ),
            *(
                Figure(label=f"good events given up in an outage, {policy}", value=f"{_number(good)} a run")
                for policy, good in means.loc[OUTAGE].good_given_up.items()
            ),
            *(
                Figure(
                    label=f"events answered after the goal beside bad records, {policy}",
                    value=f"{row.late_pct:.1f}% ({means.late_pct[NONE, policy]:.1f}% without a fault)",
                )
                for policy, row in means.loc[POISON].iterrows()
            ),
            *(
                Figure(label=f"longest time without an answer, poison, {policy}", value=f"{row.standstill_s:.1f} s")
                for policy, row in means.loc[POISON].iterrows()
            ),
            *([_NO_END] if FOR_EVER in frame.policy.unique() else []),
            Figure(label="malformed records put aside by the function", value=f"{aside} of {planted}"),
            Figure(
                label="good events given up with malformed records and poison, bisect",
                value=_number(figures(spoiled)["good_given_up"]),
            ),
            Figure(label="events lost, all runs", value=f"{lost:.0f}"),
            Figure(label="runs that failed", value=f"{(frame.error != '').sum()}"),
        ),
        provenance=provenance
        | {
            "runs a point": f"{frame.run.nunique()}, each in a fresh process, interleaved; seeds {_range(frame.seed)}",
            "measured": _range(frame.started.dt.strftime("%Y-%m-%d %H:%M UTC")),
        },
    )


def _number(value: float) -> str:
    return "unknown" if value != value else f"{value:.0f}" if value == round(value) or value >= 10 else f"{value:.1f}"


def _range(values: pd.Series) -> str:
    return f"{values.min()} to {values.max()}"
