"""One index asked in three ways: they find the same."""

from workbench.settings import Flat, Settings
from workbench.tasks import served


def test_every_way_finds_the_same_and_is_asked_all_queries(drawn):
    measured = served.measure(Settings(catalogue=300, events=25, warmup=2, index=Flat()), "embedded")
    assert measured.samples.groupby(["way", "threads"]).size().to_dict() == {
        (way, threads): 25 for way in served.WAYS for threads in (1, 2)
    }
    assert (measured.samples.recall == 1).all() and measured.figures["recall_at_10"] == 1
    for _, asked in measured.samples[measured.samples.threads == 1].groupby("way"):  # one after the other, though in blocks
        ends = asked.begun_s + asked.query_us / 1e6
        assert (asked.begun_s.iloc[1:].to_numpy() >= ends.iloc[:-1].to_numpy() - 1e-6).all()
