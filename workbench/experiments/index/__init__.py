"""Which index for which goal? What notebook 02 sweeps over, the tables it shows, and what it concludes."""

from workbench.experiments.index.designs import GRID, build_text, designs, prepare, query_text
from workbench.experiments.index.finding import finding
from workbench.experiments.index.frames import at_equal_recall, cheapest, pairs, peers_as_pairs
from workbench.experiments.index.tables import builds, churn, filters, peers, served
from workbench.tasks.filters import FIELDS

__all__ = [
    "FIELDS",
    "GRID",
    "at_equal_recall",
    "build_text",
    "builds",
    "cheapest",
    "churn",
    "designs",
    "filters",
    "finding",
    "pairs",
    "peers",
    "peers_as_pairs",
    "prepare",
    "query_text",
    "served",
]
