"""Which settings notebook 03 compares, and what it says of their results: against counts that are made up."""

import math

import numpy as np
import pandas as pd
import pytest

from workbench.errors import SettingError
from workbench.experiments import failures
from workbench.runs import Run
from workbench.scenarios.retail import Retail
from workbench.settings import Settings
from workbench.stream.dead_letters import DeadLetter

_BASE = Settings(events=10, warmup=2, shards=1)
_POLICIES = [failures.FOR_EVER, failures.WHOLE, failures.BISECT]


def made(policies=_POLICIES, base=_BASE) -> dict:
    return failures.designs(base, policies, poison=2, outage_s=1.5, stall_s=2.5)


def test_every_policy_meets_every_fault_but_the_one_that_would_have_no_end():
    listed = made()
    faults = (failures.NONE, failures.POISON, failures.OUTAGE, failures.STALL)
    endless = ("poison", "retry for ever")
    assert set(listed) == {(fault, policy) for fault in faults for policy in _POLICIES} - {endless}
    assert {(fault, each.poison, each.outage_s, each.stall_s) for (fault, _), each in listed.items()} == {
        ("no fault", 0, 0.0, 0.0),
        ("poison", 2, 0.0, 0.0),
        ("outage", 0, 1.5, 0.0),
        ("stall", 0, 0.0, 2.5),
    }
    assert len({each.hash for each in listed.values()}) == len(listed) == 11


@pytest.mark.parametrize(
    ("policy", "batch_size", "factor", "retries", "bisect"),
    [
        ("retry for ever", 100, 1, -1, False),  # AWS's defaults
        ("whole batch", 100, 1, 2, False),
        ("batches of 10", 10, 1, 2, False),
        ("bisect", 100, 1, 2, True),
        ("bisect and factor 10", 100, 10, 2, True),
    ],
)
def test_a_policy_is_what_its_name_says_whatever_the_base_has(policy, batch_size, factor, retries, bisect):
    base = _BASE.but(batch_size=7, parallelization_factor=3, maximum_retry_attempts=9, maximum_record_age_in_seconds=60)
    each = failures.under(base, policy)
    assert (each.batch_size, each.parallelization_factor, each.maximum_retry_attempts) == (batch_size, factor, retries)
    assert each.bisect_batch_on_function_error is bisect and not each.report_batch_item_failures
    assert each.maximum_record_age_in_seconds == -1 and each.shards == 1


def test_an_unknown_policy_is_refused_by_name():
    with pytest.raises(SettingError, match=r"policies = 'hope' is not allowed: some of retry for ever, whole batch, "):
        made(["hope"])


def frame_of(listed: dict, runs: int = 2, **figures) -> pd.DataFrame:
    """A row a design and run; figures by name, (fault, policy) → their values over runs."""
    rows = [
        {
            "settings": each.hash,
            "run": run,
            "seed": 7 + run,
            "warmup": each.warmup,
            "events": each.events,
            "poison": each.poison,
            "error": "",
            "smoke": False,
            "started": pd.Timestamp("2026-01-02 03:04", tz="UTC"),
            "lost": 0.0,
            "refused": 0.0,
            "retried": 3.0,
            "deliveries_per_event": 1.5,
            "standstill_s": 0.5,
            "dead": 0.0,
            "good_given_up": 0.0,
        }
        | {name: values[key][run] for name, values in figures.items() if key in values}
        for run in range(runs)
        for key, each in reversed(listed.items())
    ]
    return failures.named(pd.DataFrame(rows), listed)


def samples_of(listed: dict, latency_ms: dict[tuple[str, str], list[list[float]]]) -> pd.DataFrame:
    """Events by design and run, those of the warm-up first; NaN was given up."""
    parts = []
    for key, runs in latency_ms.items():
        for run, ms in enumerate(runs):
            values = np.array(ms, float)
            outcome = np.where(np.isnan(values), "dead", "answered")
            parts.append(pd.DataFrame({"settings": listed[key].hash, "run": run, "latency_ms": values, "outcome": outcome}))
    return failures.named(pd.concat(parts), listed)


WHOLE, BISECT = ("poison", "whole batch"), ("poison", "bisect")
NAN = math.nan
LISTED = made()
FRAME = frame_of(
    LISTED,
    dead={WHOLE: (6.0, 8.0), BISECT: (2.0, 2.0), ("outage", "whole batch"): (3.0, 4.0)},
    good_given_up={WHOLE: (4.0, 6.0), ("outage", "whole batch"): (3.0, 4.0)},
    standstill_s={BISECT: (2.0, 3.0)},
)
SAMPLES = samples_of(
    LISTED,
    {
        WHOLE: [[900.0, 900.0, 10.0, NAN, 300.1, 300.0], [1.0, 1.0, 400.0, 500.0, 20.0, NAN]],
        BISECT: [[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 301.0]],
    },
)


def test_rows_are_named_and_come_in_the_designs_order():
    named = frame_of(LISTED)
    assert list(dict.fromkeys(zip(named.fault, named.policy, strict=True))) == list(LISTED)
    assert named.settings.tolist() == [each.hash for each in LISTED.values() for _ in range(2)]


def test_late_events_are_counted_run_by_run_without_the_warm_up():
    rows = failures.outcomes(FRAME, SAMPLES, goal_ms=300).set_index(["fault", "policy", "run"]).sort_index()
    assert rows.late[WHOLE].tolist() == [1.0, 2.0], "300.0 ms are within the goal, the first two events warm up"
    assert rows.late[BISECT].tolist() == [0.0, 1.0] and rows.late[("stall", "bisect")].tolist() == [0.0, 0.0]
    assert rows.bad_given_up[WHOLE].tolist() == [2.0, 2.0] and rows.bad_given_up[("outage", "whole batch")].tolist() == [0, 0]


def test_a_run_that_failed_has_no_late_events():
    frame = FRAME.assign(error=np.where(FRAME.run == 1, "the run took more than 900 s", ""))
    late = failures.outcomes(frame, SAMPLES, goal_ms=300).set_index(["fault", "policy", "run"]).sort_index().late
    assert late[WHOLE].iloc[0] == 1.0 and math.isnan(late[WHOLE].iloc[1])


def test_the_table_has_the_means_over_runs():
    shown = failures.table(failures.outcomes(FRAME, SAMPLES, goal_ms=300), SAMPLES)
    assert list(shown.index) == list(LISTED) and shown.index.names == ["fault", "policy"]
    row = shown.loc[WHOLE]
    assert (row["good given up"], row["bad given up"], row["lost"]) == (5.0, 2.0, 0.0)
    assert row["late, %"] == 15.0 and row["standstill_s"] == 0.5  # 1.5 of 10 events
    assert (row["delivered more than once"], row["deliveries per event"]) == (3.0, 1.5)
    assert math.isnan(row["p99_ms, all runs"]) and shown.loc[BISECT, "standstill_s"] == 2.5


def spoiled_run(lost: int = 0) -> Run:
    """Of three malformed records two reached the dead letters, beside one poison event and 5 good ones."""
    letters = [
        DeadLetter(shard_id="s", first=str(n), last=str(n), records=records, reason="r", calls=1, data=data)
        for n, (records, data) in enumerate([(1, b"x"), (1, b"y"), (6, None)])
    ]
    outcome = ["answered"] * 8 + ["dead"] * 6 + ["lost"] * lost
    events = pd.DataFrame({"outcome": outcome, "due_s": np.arange(14.0 + lost), "send_ms": 0.0, "latency_ms": 1.0, "batch": 1})
    events = events.assign(attempts=1, service_ms=1.0, freshness_ms=1.0)
    parts = ("send", "stream", "queue", "call", "decode", "enrich", "embed", "upsert", "query", "act", "return")
    return Run(
        settings=_BASE.but(warmup=0, poison=1),
        cloud="embedded",
        events=events.assign(**{f"{part}_ms": 0.0 for part in parts}),
        cold_starts_ms=[],
        recommendations={},
        dead_letters=letters,
        resources=pd.DataFrame(columns=["t_s", "process", "cpu_cores", "rss_mib"]),
        findable=None,
        replay=Retail([], [], [], [], {}),
        api_url="",
        provenance={},
    )


def found(frame=FRAME, spoiled=None):
    outcomes = failures.outcomes(frame, SAMPLES, goal_ms=300)
    return failures.finding(outcomes, spoiled=spoiled or spoiled_run(), planted=3, question="q", provenance={"machine": "m"})


def test_the_answer_is_the_good_events_that_one_bad_record_cost():
    """5 a run with 2 bad records: 2.5 each."""
    answer = found().answer
    assert "dead letters: 2.5 with “whole batch”, 0 with “bisect”; no event of all runs was lost." in answer


def test_the_figures_are_means_over_runs_and_what_is_quoted_says_so():
    figures = {figure.label: figure for figure in found().figures}
    values = {label: figure.value for label, figure in figures.items()}
    assert values["bad records dead-lettered, whole batch"] == "2 of 2 a run"
    assert values["good events given up in an outage, whole batch"] == "3.5 a run"
    assert values["good events given up in an outage, retry for ever"] == "0 a run"
    assert values["longest time without an answer, poison, bisect"] == "2.5 s"
    assert values["events answered after the goal beside bad records, whole batch"] == "15.0% (0.0% without a fault)"
    assert values["malformed records put aside by the function"] == "2 of 3"
    assert values["good events given up with malformed records and poison, bisect"] == "5"
    assert values["events lost, all runs"] == "0" and values["runs that failed"] == "0"
    quoted = [label for label, figure in figures.items() if figure.tag == "quoted"]
    assert quoted == ["longest time without an answer, poison, retry for ever"] and "24 h" in values[quoted[0]]
    assert found().provenance == {
        "machine": "m",
        "runs a point": "2, each in a fresh process, interleaved; seeds 7 to 8",
        "measured": "2026-01-02 03:04 UTC to 2026-01-02 03:04 UTC",
    }


def test_a_loss_a_failed_run_and_a_trial_are_told():
    lost = frame_of(LISTED, lost={WHOLE: (0.0, 1.0)}).assign(smoke=True)
    lost.loc[lost.index[0], "error"] = "it failed"
    finding = found(lost, spoiled_run(lost=2))
    assert "; 3 events of all runs were lost (fewer than 5 runs a point: a trial, not a finding)." in finding.answer
    values = {figure.label: figure.value for figure in finding.figures}
    assert values["runs that failed"] == "1" and values["events lost, all runs"] == "3"
    assert values["good events given up with malformed records and poison, bisect"] == "unknown"


def test_nothing_is_quoted_where_nobody_retries_for_ever():
    bounded = made([failures.WHOLE])
    frame = failures.outcomes(frame_of(bounded), samples_of(bounded, {WHOLE: [[1.0], [1.0]]}), goal_ms=300)
    finding = failures.finding(frame, spoiled=spoiled_run(), planted=3, question="q", provenance={})
    assert {figure.tag for figure in finding.figures} == {"measured"}
