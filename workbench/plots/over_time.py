"""What happens in the course of a run: whether a backlog grows, and what of a stall a load generator sees."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from workbench.measure import load
from workbench.plots import frames, style
from workbench.runs import Run
from workbench.summaries import percentile_ms


def backlog(runs: Mapping[str, Run], ax: Axes | None = None) -> Axes:
    """Events sent and not yet settled over time, for each run: a line that rises to the end is load that was not carried.

    Raises:
        ResultError: there are no runs.
    """
    ax = style.axes(3.6, ax)
    verdicts = []
    for number, (name, run) in enumerate(frames.some(runs).items()):
        over_time, look = load.backlog(run.events), style.look(number)
        t_s = over_time.t_s - run.events.due_s.min()
        ax.plot(
            t_s,
            over_time.backlog,
            color=look.color,
            linestyle=look.linestyle,
            marker=look.marker,
            markersize=5,
            markevery=(5 * number, max(len(t_s) // 8, 1)),
            linewidth=1.3,
            label=name,
        )
        verdicts.append(_growth(name, over_time.backlog.max(), load.backlog_growth_pct(run.events)))
    ax.set_ylim(0)
    ax.set_xlim(0)
    ax.set_xlabel("s since the first event was due")
    ax.set_ylabel("events sent and not yet settled")
    ax.yaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    style.legend(ax)
    style.title(ax, "; ".join(verdicts))
    return ax


def _growth(name: str, most: float, growth_pct: float) -> str:
    if growth_pct != growth_pct:
        return f"{name}: all events were sent at once, so nothing can be said of growth"
    at_most = f"{most:,.0f} event{'' if most == 1 else 's'} at most"
    if growth_pct > load.MOST_BACKLOG_GROWTH_PCT:
        return f"{name}’s backlog grew by {growth_pct:.0f}% of its events ({at_most})"
    return f"{name}’s backlog did not grow ({at_most})"


def stall(open_run: Run, closed_run: Run, goal_ms: float, ax: Axes | None = None) -> Axes:
    """The same stall as two load generators see it: an open loop sends on, a closed one waits for its answers first.

    Drawn are the answered events after the warm-up, each at the time it was due (in a closed loop: sent).
    """
    ax = style.axes(3.8, ax)
    p99s = {}
    for number, (name, run) in enumerate({"open loop": open_run, "closed loop": closed_run}.items()):
        measured, look = run.measured, style.look(number)
        t_s = measured.due_s - run.events.due_s.min()
        p99s[name] = percentile_ms(run, 99)
        said = f"p99 {style.number(p99s[name])} ms" if p99s[name] == p99s[name] else "too few events for a p99"
        ax.plot(
            t_s,
            measured.latency_ms,
            look.marker,
            color=look.color,
            markersize=3,
            markerfacecolor=look.color if number == 0 else "white",
            label=f"{name}:\n{len(measured):,} events,\n{said}",
        )
    style.goal_line(ax, goal_ms)
    drawn = pd.concat([open_run.measured.latency_ms, closed_run.measured.latency_ms, pd.Series([goal_ms])])
    if not style.logarithmic(ax, "y", drawn):
        ax.set_ylim(0)
    ax.set_xlim(0)
    ax.set_xlabel("s since the first event was due")
    ax.set_ylabel("latency of the event, ms")
    style.legend(ax)
    style.title(ax, _hidden(p99s["open loop"], p99s["closed loop"]))
    return ax


def _hidden(true_ms: float, seen_ms: float) -> str:
    if true_ms != true_ms or seen_ms != seen_ms:
        return "Whether a closed loop hides the stall cannot be told: too few events for a p99"
    beside = f"p99 {style.number(seen_ms)} ms beside the true {style.number(true_ms)} ms"
    return (
        f"A closed loop hides the stall: {beside}" if seen_ms < true_ms / 2 else f"The closed loop shows the stall, too: {beside}"
    )
