"""What a run showed."""

import dataclasses
from collections.abc import Mapping, Sequence

import pandas as pd

from workbench.events import Recommendation
from workbench.measure import load
from workbench.measure.timeline import WAY
from workbench.scenarios.retail import Retail
from workbench.settings import Settings
from workbench.stream.dead_letters import DeadLetter


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run showed. ``events`` has a row for each event (see ``Timeline.frame``), the declared warm-up included."""

    settings: Settings
    cloud: str
    events: pd.DataFrame
    cold_starts_ms: list[float]  # of the calls that first woke the function, which no other figure contains
    recommendations: dict[str, Recommendation]  # the read model at the end
    dead_letters: list[DeadLetter]  # what the dead-letter queue held of this run's records
    resources: pd.DataFrame  # processors and memory over time (see ``Resources.frame``)
    findable: pd.DataFrame | None  # when a search found a few events' vectors (see ``FindableProbe.frame``)
    replay: Retail
    api_url: str
    provenance: dict[str, str]

    @property
    def measured(self) -> pd.DataFrame:
        """The answered events after the warm-up."""
        later = self.events.iloc[self.settings.warmup :]
        return later[later.outcome == "answered"]

    @property
    def hits(self) -> pd.Series:
        """By user with a next basket: 1.0 if any of their recommendations is in it, else 0.0 (hit rate@5 is the mean)."""
        return self.hits_of({user: [entry["product_id"] for entry in made.items] for user, made in self.recommendations.items()})

    @property
    def hits_of_popular(self) -> pd.Series:
        """The same for the five most bought products, recommended to everybody."""
        return self.hits_of(dict.fromkeys(self.replay.next_basket, self.replay.popular))

    def hits_of(self, recommended: Mapping[str, Sequence[str]]) -> pd.Series:
        """The same for other recommendations: product ids by user. A user without any has no hit."""
        baskets = self.replay.next_basket
        return pd.Series({user: float(not basket.isdisjoint(recommended.get(user, ()))) for user, basket in baskets.items()})

    def to_text(self) -> str:
        """A short table for the terminal."""
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.events.outcome.value_counts().items())
        shown = self.measured[["latency_ms", *(f"{part}_ms" for part in WAY)]].quantile([0.5, 0.95, 0.99])
        shown.index = ["p50", "p95", "p99"]
        rows = [
            f"{self.settings.placement} on {self.cloud}, settings {self.settings.hash}: {counts}; {self.lost} lost",
            *self._load(),
            f"after {self.settings.warmup} events of warm-up, in ms:",
            shown.round(1).to_string(),
        ]
        if self.cold_starts_ms:
            rows.append(f"cold starts, apart: {', '.join(f'{ms:.0f}' for ms in self.cold_starts_ms)} ms")
        return "\n".join(rows)

    def _load(self) -> list[str]:
        """What was asked for and offered, and whether it was carried; nothing where all was due at once."""
        later = self.events.iloc[self.settings.warmup :]
        offered, growth = load.offer(later), load.backlog_growth_pct(later)
        if not self.settings.rate or self.settings.loop == "closed" or offered["offered_per_s"] != offered["offered_per_s"]:
            return []
        said = f"{offered['offered_per_s']:.4g} events/s were due, {offered['sent_per_s']:.4g} were sent"
        if offered["offer_kept_pct"] < load.LEAST_OFFER_KEPT_PCT:
            said += f": the load could not be offered ({offered['offer_kept_pct']:.0f}%)"
        if growth > load.MOST_BACKLOG_GROWTH_PCT:
            said += f"; the backlog grew by {growth:.0f}% of the events: the load was not carried"
        return [said]

    @property
    def lost(self) -> int:
        """Events that were neither answered nor dead-lettered nor refused by the producer. Anything but 0 is a fault."""
        return int((self.events.outcome == "lost").sum())
