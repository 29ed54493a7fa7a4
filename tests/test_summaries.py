"""Tables of runs against arithmetic done by hand; a figure that too few samples would carry is not shown."""

import base64
import dataclasses
import math

import numpy as np
import pandas as pd
import pytest

from workbench import summaries
from workbench.events import Event, Recommendation
from workbench.function.entities import Product
from workbench.measure.timeline import WAY
from workbench.runs import Run
from workbench.scenarios.retail import Retail
from workbench.settings import Settings

MILK, TEA, ICE = (
    Product("p1", "Milk, Dairy, Grocery, 1 GAL, Private brand", 1.0),
    Product("p2", "Tea Bags, Tea, Grocery, National brand", 0.5),
    Product("p3", "Ice - Crushed, Frzn Ice, Grocery, 22 LB, National brand", 0.1),
)


def bought(user: str, product: Product) -> Event:
    return Event(event_id="e", user_id=user, product_id=product.product_id, timestamp_ms=0, trace_id="t")


def letter(data: bytes | None, reason: str, calls: int) -> dict:
    """As the dead-letter queue holds it; data that no message has room for is null."""
    held = None if data is None else base64.b64encode(data).decode()
    return {"requestContext": {"approximateInvokeCount": calls}, "workbench": {"data": held, "reason": reason}}


def a_run(latency_ms, *, outcomes=(), warmup=0, cold=(), events=(), recommendations=None, baskets=None, dead=0) -> Run:
    """Answered events of these latencies, split over the way in shares 1 : 2 : 3 : …, and after them others."""
    latency = np.asarray(latency_ms, float)
    shares = np.arange(1, len(WAY) + 1) / np.arange(1, len(WAY) + 1).sum()
    frame = pd.DataFrame({"outcome": "answered", "latency_ms": latency, "batch": np.arange(len(latency)) % 3 + 1})
    frame = frame.assign(**{f"{part}_ms": latency * share for part, share in zip(WAY, shares, strict=True)})
    frame = pd.concat([frame, pd.DataFrame({"outcome": list(outcomes)})], ignore_index=True)
    return Run(
        settings=Settings(warmup=warmup),
        cloud="embedded",
        events=frame,
        cold_starts_ms=list(cold),
        recommendations=recommendations or {},
        dead_letters=[letter(b"data", "reason", 1)] * dead,
        replay=Retail(list(events), [], [MILK, TEA, ICE], [MILK, TEA], baskets or {}),
        api_url="",
        provenance={},
    )


def test_latency_counts_every_outcome_and_leaves_out_the_warmup():
    run = a_run([9000.0, *range(1, 201)], outcomes=["dead", "lost", "lost"], warmup=1, cold=[812.4, 90.6], dead=2)
    row = summaries.latency({"inline": run, "lambda": a_run([5.0])}).loc["inline"]
    assert (row["measured"], row["answered"], row["dead letters"], row["lost"]) == (200, 201, 2, 2)
    assert row["p50_ms"] == 100.5 and row["p95_ms"] == pytest.approx(190.05, abs=0.06) and math.isnan(row["p99_ms"])
    assert row["events per batch"] == pytest.approx(np.mean([n % 3 + 1 for n in range(1, 201)]), abs=0.05)
    assert row["cold starts_ms"] == "812, 91"
    assert summaries.latency({"lambda": a_run([5.0])}).loc["lambda", "cold starts_ms"] == "none"


@pytest.mark.parametrize(("percentile", "needed"), [(50, 20), (95, 200), (99, 1000)])
def test_a_percentile_needs_ten_samples_beyond_it(percentile, needed):
    assert math.isnan(summaries.percentile_ms(a_run(range(needed - 1)), percentile))
    assert summaries.percentile_ms(a_run(range(needed)), percentile) == pytest.approx((needed - 1) * percentile / 100)


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
    assert table.values.tolist() == [['{"user": "7"}', "missing field", 3], ["\ufffd\ufffd", "not JSON", 1], ["", "too large", 2]]
    assert list(summaries.dead_letters(a_run([1.0])).columns) == ["record", "reason", "calls"]


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
