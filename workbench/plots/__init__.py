"""Runs and frames to pictures: each function gives Axes whose title states the finding.

Every picture has units on its axes, says what its marks mean, and can be read without colours and without its notebook.
"""

from workbench.plots.comparison import compared
from workbench.plots.fronts import front, pareto
from workbench.plots.load import load_curve
from workbench.plots.over_time import backlog, stall
from workbench.plots.quality import hit_rates
from workbench.plots.style import COLOURS
from workbench.plots.tail import percentile_curves, percentiles
from workbench.plots.way import stages, stages_by

__all__ = [
    "COLOURS",
    "backlog",
    "compared",
    "front",
    "hit_rates",
    "load_curve",
    "pareto",
    "percentile_curves",
    "percentiles",
    "stages",
    "stages_by",
    "stall",
]
