"""Can a click become a recommendation within 300 ms? What notebook 00 asks of the API and concludes from its runs."""

import itertools
import time
from collections.abc import Mapping

import httpx
import pandas as pd

from workbench.errors import ServiceError
from workbench.finding import Figure, Finding
from workbench.runs import Run
from workbench.summaries import percentile_ms, stages

OURS, SIMILAR = "habits + similarity (ours)", "similarity alone"
POPULAR, ARTICLE = "most bought", "the article's design"
_WARM = 5  # requests first and left out: they wake the read function


def api_times(run: Run, *, requests: int) -> pd.Series:
    """How long the API takes to answer for users of the run, as a front end sees it, in ms; one connection, one at a time.

    Raises:
        ServiceError: an answer is not 200.
    """
    users = itertools.cycle(run.recommendations)
    times = []
    with httpx.Client(trust_env=False, timeout=30.0) as client:
        for _ in range(_WARM + requests):
            user = next(users)
            begun = time.perf_counter()
            answer = client.get(run.api_url, params={"user_id": user})
            times.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:
                raise ServiceError(f"GET {answer.url} answered {answer.status_code}: {answer.text[:200]}")
    return pd.Series(times[_WARM:], name="api_ms")


def finding(
    runs: Mapping[str, Run],
    *,
    spoiled: Run,
    planted: int,
    hit_rates: pd.DataFrame,
    api_ms: pd.Series,
    goal_ms: float,
    question: str,
) -> Finding:
    """What the notebook says at the top of its report; every number comes from the runs."""
    slowest = {name: percentile_ms(run, 99) for name, run in runs.items()}
    cloud_share = stages(runs).loc["cloud share at most, %"]
    rate = next(iter(runs.values())).settings.rate
    met = [name for name, ms in slowest.items() if ms <= goal_ms]
    verdict = "Yes" if len(met) == len(runs) else f"Only {' and '.join(met)}" if met else "No"
    if any(ms != ms for ms in slowest.values()):
        verdict = "Too few events to say (p99 needs 1,000)"
    within = ", ".join(f"{name} {_ms(ms)}" for name, ms in slowest.items())
    lost = sum(run.lost for run in runs.values())
    speed = f"{verdict}: at {rate:g} events/s 99 of 100 events are answered within {within}, {lost} lost"
    return Finding(
        question=question,
        answer=f"{speed}, and {_quality(hit_rates)}.",
        figures=(
            *(Figure(label=f"p50 / p95 / p99 end to end, {name}", value=_percentiles(run)) for name, run in runs.items()),
            *(
                Figure(label=f"share of calls to the emulated cloud, {name}", value=f"at most {cloud_share[f'{name}_ms']:.0f}%")
                for name in runs
            ),
            Figure(label="API answer p50 / p95", value=f"{_ms(api_ms.median())} / {_ms(api_ms.quantile(0.95))}"),
            *(
                Figure(label=f"hit rate@5, {name}", value=f"{row.hit_rate:.3f} ({row.low:.3f} to {row.high:.3f})")
                for name, row in hit_rates.iterrows()
            ),
            Figure(label="events lost / dead-lettered", value=f"{lost} / {sum(len(run.dead_letters) for run in runs.values())}"),
            Figure(label="planted bad records in the dead-letter queue", value=f"{len(spoiled.dead_letters)} of {planted}"),
        ),
        provenance={**next(iter(runs.values())).provenance, "cloud": next(iter(runs.values())).cloud, **_settings(runs)},
    )


def _quality(hit_rates: pd.DataFrame) -> str:
    ours = hit_rates.loc[OURS].hit_rate
    said = []
    for rival, row in ((name, hit_rates.loc[name]) for name in (POPULAR, ARTICLE)):
        if row.ahead_low > 0:
            said.append(f"beats {rival} ({row.hit_rate:.1%})")
        elif row.ahead_high < 0:
            said.append(f"loses to {rival} ({row.hit_rate:.1%})")
        else:
            said.append(f"cannot be told from {rival} ({row.hit_rate:.1%})")
    return f"a next basket contains one of the five for {ours:.1%} of users, which {' and '.join(said)}"


def _percentiles(run: Run) -> str:
    return " / ".join(_ms(percentile_ms(run, percentile)) for percentile in (50, 95, 99))


def _ms(value: float) -> str:
    return "too few samples" if value != value else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def _settings(runs: Mapping[str, Run]) -> dict[str, str]:
    return {f"settings, {name}": f"{run.settings.hash} {run.settings.to_dict()}" for name, run in runs.items()}
