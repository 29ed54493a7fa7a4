"""Tables of runs against arithmetic done by hand; a figure that too few samples would carry is not shown."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from workbench import summaries
from workbench.events import Event, Recommendation
from workbench.function.entities import Product
from workbench.measure import load
from workbench.measure.metrics import METRICS
from workbench.measure.resources import MACHINE
from workbench.measure.timeline import WAY
from workbench.runs import Run
from workbench.scenarios.retail import Retail
from workbench.settings import Settings
from workbench.stream.dead_letters import DeadLetter

MILK, TEA, ICE = (
    Product("p1", "Milk, Dairy, Grocery, 1 GAL, Private brand", 1.0),
    Product("p2", "Tea Bags, Tea, Grocery, National brand", 0.5),
    Product("p3", "Ice - Crushed, Frzn Ice, Grocery, 22 LB, National brand", 0.1),
)


def bought(user: str, product: Product) -> Event:
    return Event(event_id="e", user_id=user, product_id=product.product_id, timestamp_ms=0, trace_id="t")


def letter(data: bytes | None, reason: str, calls: int) -> DeadLetter:
    return DeadLetter(shard_id="shard", first="1", last="1", records=1, reason=reason, calls=calls, data=data)


NO_RESOURCES = pd.DataFrame(columns=["t_s", "process", "cpu_cores", "rss_mib"])


def a_run(
    latency_ms,
    *,
    outcomes=(),
    warmup=0,
    cold=(),
    events=(),
    recommendations=None,
    baskets=None,
    dead=0,
    resources=NO_RESOURCES,
    findable=None,
) -> Run:
    """Answered events of these latencies, split over the way in shares 1 : 2 : 3 : …, and after them others.

    One is due every 0.1 s; the others are sent 5 ms later, unless they are refused.
    """
    latency = np.asarray(latency_ms, float)
    shares = np.arange(1, len(WAY) + 1) / np.arange(1, len(WAY) + 1).sum()
    frame = pd.DataFrame({"outcome": "answered", "latency_ms": latency, "batch": np.arange(len(latency)) % 3 + 1})
    frame = frame.assign(**{f"{part}_ms": latency * share for part, share in zip(WAY, shares, strict=True)})
    frame = frame.assign(service_ms=latency - frame.send_ms, freshness_ms=latency / 2)
    frame = pd.concat([frame, pd.DataFrame({"outcome": list(outcomes)})], ignore_index=True)
    frame.loc[frame.outcome.isin(["dead", "lost"]), "send_ms"] = 5.0
    frame = frame.assign(due_s=0.1 * np.arange(len(frame)), attempts=1)
    return Run(
        settings=Settings(warmup=warmup),
        cloud="embedded",
        events=frame,
        cold_starts_ms=list(cold),
        recommendations=recommendations or {},
        dead_letters=[letter(b"data", "reason", 1)] * dead,
        resources=resources,
        findable=findable,
        replay=Retail(list(events), [], [MILK, TEA, ICE], [MILK, TEA], baskets or {}),
        api_url="",
        provenance={},
    )


def test_latency_counts_every_outcome_and_leaves_out_the_warmup():
    run = a_run([9000.0, *range(1, 201)], outcomes=["dead", "lost", "lost"], warmup=1, cold=[812.4, 90.6], dead=2)
    row = summaries.latency({"inline": run, "lambda": a_run([5.0])}).loc["inline"]
    assert (row["measured"], row["answered"], row["dead letters"], row["lost"]) == (200, 201, 2, 2)
    assert row["p50_ms"] == 100.0 and row["p95_ms"] == 190.1 and math.isnan(row["p99_ms"])  # 190 to 3 digits, rounded up
    assert row["events per batch"] == pytest.approx(np.mean([n % 3 + 1 for n in range(1, 201)]), abs=0.05)
    assert row["cold starts_ms"] == "812, 91"
    assert summaries.latency({"lambda": a_run([5.0])}).loc["lambda", "cold starts_ms"] == "none"


@pytest.mark.parametrize(("percentile", "needed"), [(50, 20), (95, 200), (99, 1000)])
def test_a_percentile_needs_ten_samples_beyond_it(percentile, needed):
    assert math.isnan(summaries.percentile_ms(a_run(range(needed - 1)), percentile))
    rank = math.floor(percentile * needed / 100 + 0.5)  # the latencies are 0, 1, 2 … ms, so the n-th is n - 1
    assert rank - 1 <= summaries.percentile_ms(a_run(range(needed)), percentile) <= (rank - 1) * (1 + 1 / 1024)


def test_the_parts_of_the_way_add_up_to_the_mean_latency():
    table = summaries.stages({"inline": a_run([66.0, 132.0]), "lambda": a_run([660.0])})
    assert len(WAY) == 11 and list(table.index[:11]) == list(WAY)  # shares are n/66
    assert table["inline_ms"][:11].tolist() == pytest.approx([1.5 * n for n in range(1, 12)])
    assert table.loc["sum", "inline_ms"] == 99.0 and table.loc["sum", "lambda_ms"] == 660.0
    cloud = sum(WAY.index(part) + 1 for part in ("stream", "enrich", "act"))  # the parts that call the cloud
    assert table.loc["cloud share at most, %", "inline_ms"] == pytest.approx(100 * cloud / 66, abs=0.006)


def test_recommended_shows_the_users_with_most_events_by_readable_names():
    events = [bought("anna", MILK), bought("ben", TEA), bought("anna", TEA), bought("anna", ICE), bought("anna", MILK)]
    events += [bought("cem", TEA), bought("cem", TEA)]
    items = (
        {"product_id": "p3", "description": ICE.description, "score": 1.0},
        {"product_id": "p2", "description": TEA.description},
    )
    made = {user: Recommendation(user, items, "t") for user in ("ben", "anna", "cem")}
    table = summaries.recommended(a_run([1.0], events=events, recommendations=made), 2)
    assert list(table.index) == ["anna", "cem"]
    assert table.loc["anna"].tolist() == ["Tea Bags · Ice - Crushed (22 LB) · Milk (1 GAL)", "Ice - Crushed (22 LB) · Tea Bags"]


def test_recommended_of_a_run_that_answered_nobody_is_an_empty_table():
    table = summaries.recommended(a_run([], outcomes=["dead"], events=[bought("anna", MILK)]), 3)
    assert table.empty and list(table.columns) == ["bought last", "recommended"]


def test_a_run_that_answered_nothing_has_counts_and_no_figures():
    row = summaries.latency({"inline": a_run([], outcomes=["dead", "lost"])}).loc["inline"]
    assert (row["measured"], row["answered"], row["lost"]) == (0, 0, 1) and math.isnan(row["p50_ms"])


def test_hit_rates_compare_users_in_pairs():
    hits = {"ours": [1, 1, 1, 0, 0, 0, 0, 0, 0, 0], "rival": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]}
    users = [str(number) for number in range(10)]
    series = {name: pd.Series(map(float, values), users) for name, values in hits.items()}
    series["rival"] = series["rival"][::-1]  # in another order: paired by user, not by place
    table = summaries.hit_rates(series, against="ours")
    assert table["users"].tolist() == [10, 10] and table["hit_rate"].tolist() == [0.3, 0.1]
    assert table.loc["rival", "ahead_by"] == 0.2 and math.isnan(table.loc["ours", "ahead_by"])
    assert 0.0 <= table.loc["rival", "ahead_low"] < 0.2 < table.loc["rival", "ahead_high"] <= 0.5
    assert 0.0 <= table.loc["ours", "low"] < 0.3 < table.loc["ours", "high"] <= 0.7


def test_a_recommender_is_as_far_ahead_of_its_equal_as_nothing():
    one = pd.Series([1.0, 0.0, 1.0], list("abc"))
    row = summaries.hit_rates({"ours": one, "same": one.copy()}, against="ours").loc["same"]
    assert (row["ahead_by"], row["ahead_low"], row["ahead_high"]) == (0.0, 0.0, 0.0)


def test_hits_are_baskets_that_hold_any_of_the_recommended():
    made = {
        "anna": Recommendation("anna", ({"product_id": "p1"}, {"product_id": "p9"}), "t"),
        "ben": Recommendation("ben", (), "t"),
    }
    baskets = {"anna": frozenset({"p9", "p7"}), "ben": frozenset({"p1"}), "cem": frozenset({"p2", "p3"})}
    run = a_run([1.0], recommendations=made, baskets=baskets)
    assert run.hits.to_dict() == {"anna": 1.0, "ben": 0.0, "cem": 0.0}
    assert run.hits_of_popular.to_dict() == {"anna": 0.0, "ben": 1.0, "cem": 1.0}  # milk and tea to everybody


def test_dead_letters_show_the_record_as_text_why_it_was_given_up_and_after_how_many_calls():
    letters = [letter(b'{"user": "7"}', "missing field", 3), letter(b"\xff\xfe", "not JSON", 1), letter(None, "too large", 2)]
    table = summaries.dead_letters(dataclasses.replace(a_run([1.0]), dead_letters=letters))
    assert table.values.tolist() == [
        [1, '{"user": "7"}', "missing field", 3],
        [1, "\ufffd\ufffd", "not JSON", 1],
        [1, "", "too large", 2],
    ]
    assert list(summaries.dead_letters(a_run([1.0])).columns) == ["records", "data", "reason", "calls"]


@pytest.mark.parametrize(
    ("description", "short"),
    [
        (MILK.description, "Milk (1 GAL)"),
        (TEA.description, "Tea Bags"),
        ("Miscellaneous, National brand", "Miscellaneous"),
        ("One Field", "One Field"),
        ("", ""),
    ],
)
def test_a_short_name_is_the_first_field_and_the_size(description, short):
    assert summaries._short(description) == short


def probes(*rows: tuple[int, int]) -> pd.DataFrame:
    """(which event, after how many ms it was found; 0: never)."""
    found = [(index, 10**18, 10**18 + ms * 1_000_000 if ms else 0, 1, "findable" if ms else "given up", "") for index, ms in rows]
    return pd.DataFrame(found, columns=["index", "sent_ns", "findable_ns", "polls", "outcome", "reason"])


def used(*rows: tuple[float, str, float, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=NO_RESOURCES.columns)


def test_every_figure_has_a_name_that_is_known_and_is_a_float():
    full = a_run([10.0, 20.0], cold=[5.0], findable=probes((0, 3)), baskets={"anna": frozenset({"p1"})})
    for run in (full, a_run([], outcomes=["lost"]), a_run([]), a_run([1.0], outcomes=["dead", "refused"], warmup=3)):
        found = summaries.figures(run)
        assert found.keys() <= METRICS.keys() and all(isinstance(value, float) for value in found.values())


def test_figures_are_those_of_the_run_without_its_warmup():
    latencies = [9000.0, 9000.0, *range(11, 31)]  # after the warm-up 20 answers, 11 to 30 ms
    run = a_run(
        latencies,
        outcomes=["dead", "lost", "refused"],
        warmup=2,
        cold=[800.0, 400.0],
        findable=probes((0, 1000), (5, 20), (7, 40), (9, 30)),
        baskets={user: frozenset({"p1"}) for user in ("anna", "ben", "cem", "dora")},
        recommendations={"anna": Recommendation("anna", ({"product_id": "p1"},), "t")},
        resources=used(
            (1.0, "this process", 0.5, 100.0),
            (1.0, "the vector server", 0.25, 50.0),
            (1.0, MACHINE, 2.0, math.nan),
            (2.0, "this process", 1.0, 200.0),
            (2.0, "the vector server", 0.25, 60.0),
            (2.0, MACHINE, 2.0, math.nan),
        ),
    )
    run.events.loc[[0, 3, 23], "attempts"] = [2, 3, 4]
    found = summaries.figures(run)
    # 23 events are due from 0.2 s to 2.4 s; all but the refused last one are sent; event 21 is answered last, 30 ms after 2.1 s
    assert found["offered_per_s"] == pytest.approx(22 / 2.2)
    sent_per_s = 21 / (2.3 + 0.005 - 0.2 - 0.011 / 66)
    assert found["sent_per_s"] == pytest.approx(sent_per_s) and found["offer_kept_pct"] == pytest.approx(10 * sent_per_s)
    assert found["goodput_per_s"] == pytest.approx(20 / (2.13 - 0.2))
    assert found["mean_ms"] == 20.5 and found["p50_ms"] == pytest.approx(20, rel=1 / 1024)
    assert found["service_p50_ms"] == pytest.approx(20 * 65 / 66, rel=1 / 1024)
    assert found["freshness_p50_ms"] == pytest.approx(10, rel=1 / 1024)
    assert {name for name in found if math.isnan(found[name])} == {
        *("p95_ms", "p99_ms", "p999_ms", "service_p99_ms", "freshness_p95_ms")  # 20 samples do not carry them
    }
    assert found["probed_freshness_ms"] == 30.0 and found["cold_start_ms"] == 600.0
    assert found["events_per_batch"] == pytest.approx(np.mean([n % 3 + 1 for n in range(2, 22)]))
    assert [found[name] for name in ("answered", "dead", "refused", "lost", "retried")] == [22, 1, 1, 1, 3]
    assert found["deliveries_per_event"] == pytest.approx((22 + 2 + 3 + 4) / 25)
    assert found["backlog_max"] == 1.0  # the lost event, at the end
    assert found["cpu_cores"] == 1.0 and found["memory_mib"] == 260.0
    assert found["hit_rate"] == 0.25


@pytest.mark.parametrize(
    ("poison", "outcomes", "expected"),
    [
        (0, [], 0.0),
        (0, ["dead"] * 4, 4.0),  # an outage: nothing was wrong with any of them
        (3, ["dead"] * 3, 0.0),
        (3, ["dead"] * 10, 7.0),
        (0, ["dead", "lost", "refused"], 1.0),
        (3, ["dead"] * 10 + ["lost"], math.nan),  # the lost one may be poison, or not
        (3, ["dead"] * 10 + ["refused"], math.nan),
    ],
)
def test_good_events_given_up_are_the_dead_that_were_not_poison(poison, outcomes, expected):
    run = a_run([1.0] * 10, outcomes=outcomes)
    run = dataclasses.replace(run, settings=run.settings.but(poison=poison))
    assert summaries.figures(run)["good_given_up"] == pytest.approx(expected, nan_ok=True)


def standstill_s(*events: tuple[float, float, float], warmup: int = 0) -> float:
    """(due, sent, answered), in s."""
    due_s, sent_s, at_s = np.array(events).T
    run = a_run(1000 * (at_s - due_s), warmup=warmup)
    return summaries.figures(dataclasses.replace(run, events=run.events.assign(due_s=due_s, send_ms=1000 * (sent_s - due_s))))[
        "standstill_s"
    ]


def test_a_standstill_is_the_longest_time_without_an_answer_while_something_waits():
    assert standstill_s((0, 0, 1.5)) == pytest.approx(1.5)
    assert standstill_s((0, 0.5, 1.5)) == pytest.approx(1.0), "what is not sent yet does not wait for an answer"
    assert standstill_s((0, 0, 0.1), (8, 8, 8.25)) == pytest.approx(0.25), "nothing waits from 0.1 s to 8 s"
    # The first waits for 3 s, but others are answered meanwhile, at 1 s and 2.2 s, though they came later.
    assert standstill_s((0, 0, 3.0), (0.5, 0.5, 1.0), (0.6, 0.6, 2.2)) == pytest.approx(1.2)
    assert standstill_s((0, 0, 5.0), (6, 6, 6.5), warmup=1) == pytest.approx(0.5), "the warm-up is left out"
    assert math.isnan(summaries.figures(a_run([], outcomes=["dead", "lost"]))["standstill_s"])


def test_the_parts_of_the_way_are_figures_of_their_own():
    found = summaries.figures(a_run([900.0, 66.0, 132.0], warmup=1))
    assert [found[f"{part}_ms"] for part in WAY] == pytest.approx([1.5 * n for n in range(1, 12)])


@pytest.mark.parametrize(("samples", "known"), [(19, 0), (20, 1), (199, 1), (200, 2), (999, 2), (1000, 3), (10_000, 4)])
def test_a_figure_that_too_few_samples_would_carry_is_nan(samples, known):
    found = summaries.figures(a_run(np.full(samples, 8.0)))
    expected = [8.0] * known + [math.nan] * (4 - known)
    assert [found[f"{name}_ms"] for name in ("p50", "p95", "p99", "p999")] == pytest.approx(expected, rel=1 / 1024, nan_ok=True)
    assert math.isnan(found["service_p99_ms"]) == (known < 3) and math.isnan(found["freshness_p95_ms"]) == (known < 2)


@pytest.mark.parametrize(
    ("findable", "expected"),
    [
        (None, math.nan),  # a design whose users' vectors nobody could look for
        (probes(), math.nan),
        (probes((0, 3), (1, 5)), math.nan),  # both belong to the warm-up
        (probes((0, 0), (4, 5), (6, 9)), 7.0),
        (probes((4, 5), (6, 0), (8, 9)), math.nan),  # a median of those that were found would flatter it
    ],
)
def test_probed_freshness_is_the_median_of_what_was_looked_for(findable, expected):
    found = summaries.figures(a_run(np.full(10, 8.0), warmup=2, findable=findable))
    assert found["probed_freshness_ms"] == pytest.approx(expected, nan_ok=True)


def test_a_run_without_a_next_basket_has_no_hit_rate():
    assert math.isnan(
        summaries.figures(a_run([1.0], events=[bought("anna", MILK)], recommendations={"anna": Recommendation("anna", (), "t")}))[
            "hit_rate"
        ]
    )


def test_a_run_that_answered_nothing_has_a_goodput_of_nothing():
    found = summaries.figures(a_run([], outcomes=["lost", "lost", "dead"]))
    assert found["goodput_per_s"] == 0.0 and (found["answered"], found["lost"], found["dead"]) == (0, 2, 1)
    assert math.isnan(found["mean_ms"]) and math.isnan(found["cpu_cores"])


def test_a_run_says_what_was_due_and_sent():
    assert a_run([10.0] * 101).to_text().splitlines()[1] == "10 events/s were due, 10 were sent"


def test_a_run_says_when_the_load_could_not_be_offered():
    """101 events due every 0.1 s are sent every 0.2 s: 50%."""
    run = a_run([10.0] * 101)
    run.events["send_ms"] = 100.0 * np.arange(101)
    run.events["latency_ms"] = run.events.send_ms + 1
    line = run.to_text().splitlines()[1]
    assert line == "10 events/s were due, 5 were sent: the load could not be offered (50%)"


def test_a_run_says_when_its_backlog_grew():
    """Each event takes 0.05 s longer than the one before: at the end half of all are under way."""
    run = a_run(50.0 * np.arange(101))
    run.events["send_ms"] = 0.0
    growth = round(load.backlog_growth_pct(run.events))
    assert growth > 20
    assert run.to_text().splitlines()[1].endswith(f"; the backlog grew by {growth}% of the events: the load was not carried")


def test_a_run_that_was_due_at_once_says_nothing_of_its_load():
    run = a_run([10.0] * 5)
    run.events["due_s"] = 0.0
    assert run.to_text().splitlines()[1] == "after 0 events of warm-up, in ms:"


def test_the_warm_up_is_left_out_of_each_run_and_not_of_all_together():
    samples = pd.DataFrame(
        {"settings": ["a"] * 5 + ["b"] * 3, "run": [0, 0, 0, 1, 1, 0, 0, 0], "latency_ms": [1.0, 2, 3, 4, 5, 6, 7, 8]}
    )
    assert summaries.after_warmup(samples, 2).latency_ms.tolist() == [3, 8]
    assert summaries.after_warmup(samples, 0).latency_ms.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
