"""Which rate counts as sustained, and what the article's handler is said to do: by made-up runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from workbench.benchmarks import throughput
from workbench.benchmarks.runs import Runs
from workbench.errors import WorkbenchError
from workbench.settings import Settings

from .made import runs_of

GOAL_MS = 300.0


@pytest.fixture(autouse=True)
def nothing_is_kept():
    for kept in (throughput._ladder, throughput._article):
        kept.cache_clear()
    yield
    for kept in (throughput._ladder, throughput._article):
        kept.cache_clear()


def steps(placement: str) -> list[Settings]:
    """Each rate for ten seconds."""
    return [Settings(placement=placement, rate=rate, events=rate * 10) for rate in throughput._RATES[placement]]


def ladder(placement: str, p99_ms: Sequence[float], changes: dict[tuple[int, int], dict] | None = None) -> Runs:
    """Five runs at each rate with these p99s; goodput is 1 less than offered for each run before. ``changes`` by (step, run)."""
    figures = {
        each: [{"p99_ms": p99, "goodput_per_s": each.rate - run, **(changes or {}).get((step, run), {})} for run in range(5)]
        for step, (each, p99) in enumerate(zip(steps(placement), p99_ms, strict=True))
    }
    samples = {each: [pd.DataFrame({"latency_ms": [each.rate]})] for each in figures}
    return runs_of(figures, samples)


def measuring(monkeypatch, *answers: Runs) -> list[tuple[list[Settings], dict]]:
    """``measured`` gives these, one a call; returns what it was asked."""
    asked, left = [], list(answers)

    def measured(settings, **options) -> Runs:
        asked.append((list(settings), options))
        return left.pop(0)

    monkeypatch.setattr(throughput, "measured", measured)
    return asked


@pytest.mark.parametrize(
    ("p99_ms", "changes", "rate"),
    [
        ((10, 20, 30, 40), {}, 2000),
        ((10, 20, 300, 301), {}, 1500),  # the goal itself is met
        ((10, 20, 30, 40), {(2, 3): {"p99_ms": 301.0}}, 1000),  # in every run
        ((10, 20, 30, 40), {(1, 0): {"offer_kept_pct": 98.9}}, 500),  # and at every lower rate
        ((10, 20, 30, 40), {(3, 4): {"backlog_growth_pct": 1.1}}, 1500),
        ((10, 20, 30, 40), {(2, 1): {"lost": 1.0}}, 1000),
        ((10, 20, float("nan"), 40), {}, 1000),
    ],
)
def test_the_sustained_rate_is_the_highest_that_every_run_carried(monkeypatch, p99_ms, changes, rate):
    asked = measuring(monkeypatch, ladder("inline", p99_ms, changes))
    runs, found = throughput._sustained("inline", GOAL_MS)
    (chosen,) = (each for each in steps("inline") if each.rate == rate)
    assert found == rate and runs.frame.rate.tolist() == [rate] * 5 and set(runs.frame.settings) == {chosen.hash}
    assert runs.samples.latency_ms.tolist() == [rate]
    assert asked == [(steps("inline"), {})]


def test_a_load_that_was_never_carried_is_an_error_not_a_figure(monkeypatch):
    measuring(monkeypatch, ladder("inline", (301, 20, 30, 40)))
    with pytest.raises(WorkbenchError, match=r"^inline: of 500, 1,000, 1,500, 2,000 events/s none was carried within 300 ms"):
        throughput._sustained("inline", GOAL_MS)


def test_a_ladder_is_measured_once_for_all_goals(monkeypatch):
    asked = measuring(monkeypatch, ladder("lambda", (100, 200, 300, 400)))
    assert [throughput._sustained("lambda", goal)[1] for goal in (150, 250, 350, 450)] == [250, 500, 750, 1000]
    assert len(asked) == 1


def test_inline_events_per_s_are_the_goodputs_at_that_rate(monkeypatch):
    measuring(monkeypatch, ladder("inline", (10, 20, 30, 400)), ladder("lambda", (10, 250, 400, 400)))
    made = throughput.inline_events_per_s("inline_events_per_s")
    assert (made.value, made.low, made.high, made.runs, made.unit) == (1498.0, 1496.0, 1500.0, 5, "events/s")
    assert (made.baseline.name, made.baseline.value) == ("in Lambda at 500/s", 498.0)
    assert made.note == "p99 30 ms at 1500/s; rates tried: 500, 1,000, 1,500, 2,000"


def drained(handler: str) -> Settings:
    return Settings(placement="lambda", handler=handler, warmup=0, rate=0, events=400)


def article_runs(monkeypatch) -> list[tuple[list[Settings], dict]]:
    """It drains 10 to 14 events/s; at half of 12 its events take 1 to 220 ms in each run, after a warm-up of 20 s."""
    flood = runs_of(
        {
            drained("published"): [{"goodput_per_s": 10.0 + run, "hit_rate": 0.2 + run / 100} for run in range(5)],
            drained("batched"): [{"goodput_per_s": 500.0, "hit_rate": 0.4 + run / 100} for run in range(5)],
        }
    )
    calm = Settings(placement="lambda", handler="published", rate=6, events=220, warmup=20)
    latencies = np.concatenate([np.full(20, 20_000.0), np.arange(1.0, 221.0)])
    events = pd.DataFrame({"latency_ms": latencies, "outcome": "answered"})
    return measuring(
        monkeypatch,
        flood,
        runs_of({calm: [{}] * 5}, {calm: [events] * 5}),
        ladder("lambda", (100, 200, 217, 400)),
        ladder("inline", (100, 200, 250, 400)),
    )


def test_the_articles_handler_is_described_by_what_it_drains_and_its_latency_at_half_of_that(monkeypatch):
    asked = article_runs(monkeypatch)
    article = throughput._article()
    assert article.capacity.tolist() == [10, 11, 12, 13, 14] and article.offered == 6.0
    assert (article.hit_rate, article.our_hit_rate) == (pytest.approx(0.22), pytest.approx(0.42))
    # 1,100 events, five of each ms: the 1,089th is 218 ms, and HDR rounds up within 1/1024
    assert 218 <= article.p99_ms <= 218 * (1 + 1 / 1024)
    assert asked == [
        ([drained("published"), drained("batched")], {}),
        ([Settings(placement="lambda", handler="published", rate=6, events=220, warmup=20)], {}),
    ]


def test_the_ratio_to_the_article_is_taken_run_by_run_at_no_worse_a_p99(monkeypatch):
    article_runs(monkeypatch)
    made = throughput.throughput_vs_article("throughput_vs_article")
    # in Lambda 750/s stay within 218 ms; inline 1,000/s do
    ratios = [(750 - run) / (10 + run) for run in range(5)]
    assert (made.value, made.low, made.high) == (sorted(ratios)[2], min(ratios), max(ratios))
    assert made.note == (
        "ours 750/s in Lambda at p99 217 ms (1000/s inline at 200 ms); the article's 12/s, p99 218 ms at 6/s;"
        " hit rate@5 0.420 and 0.220"
    )
    assert (made.baseline.name, made.baseline.value) == ("the article's handler", 1.0)
