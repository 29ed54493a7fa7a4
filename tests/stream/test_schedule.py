import numpy as np
import pytest

from workbench.errors import SettingError
from workbench.stream.schedule import schedule


def test_constant_arrivals_are_evenly_spaced():
    assert schedule(5, rate=100, arrivals="constant", seed=1).tolist() == [0, 10_000_000, 20_000_000, 30_000_000, 40_000_000]


def test_constant_arrivals_do_not_drift():
    due = schedule(30_001, rate=300, arrivals="constant", seed=1)  # 3.33… ms, which no whole number of ns is
    assert abs(int(due[-1]) - 100_000_000_000) <= 1_000


def test_poisson_gaps_have_the_mean_and_the_spread_of_an_exponential():
    gaps = np.diff(schedule(100_001, rate=200, arrivals="poisson", seed=3)) / 1e6
    assert gaps.mean() == pytest.approx(5.0, rel=0.02)
    assert gaps.std() == pytest.approx(5.0, rel=0.03)
    assert (gaps > 5.0).mean() == pytest.approx(np.exp(-1), abs=0.01)
    assert gaps.min() >= 0.0


def test_the_first_event_is_due_at_once():
    assert schedule(10, rate=0.5, arrivals="poisson", seed=9)[0] == 0


def test_a_seed_gives_the_same_schedule_bit_for_bit():
    first = schedule(1000, rate=100, arrivals="poisson", seed=7)
    assert first.tobytes() == schedule(1000, rate=100, arrivals="poisson", seed=7).tobytes()
    # Pinned: results of one seed are compared across versions and machines.
    assert first[[1, 2, 999]].tolist() == [10252033, 15937520, 9786771149]


def test_another_seed_gives_another_schedule():
    one, other = (schedule(1000, rate=100, arrivals="poisson", seed=seed) for seed in (7, 8))
    assert (one[1:] != other[1:]).all()


def test_a_longer_schedule_begins_like_a_shorter_one():
    assert (
        schedule(500, rate=100, arrivals="poisson", seed=7).tolist()
        == schedule(1000, rate=100, arrivals="poisson", seed=7)[:500].tolist()
    )


def test_rate_0_makes_everything_due_at_once():
    assert schedule(4, rate=0, arrivals="poisson", seed=7).tolist() == [0, 0, 0, 0]


def test_unknown_arrivals_are_refused_with_the_valid_ones():
    with pytest.raises(SettingError, match=r"^arrivals = 'bursty' is not allowed: constant or poisson$"):
        schedule(4, rate=1, arrivals="bursty", seed=7)
