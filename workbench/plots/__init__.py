"""Runs and frames to pictures: each function gives Axes whose title states the finding.

Every picture has units on its axes, says what its marks mean, and can be read without colours and without its notebook.
"""

from workbench.plots.churn import churned
from workbench.plots.comparison import compared
from workbench.plots.failures import fates, latency_over_time
from workbench.plots.fronts import front, pareto
from workbench.plots.load import load_curve
from workbench.plots.over_time import backlog, stall
from workbench.plots.phases import latency_by_phase
from workbench.plots.quality import hit_rates
from workbench.plots.recall import recall_curves
from workbench.plots.selectivity import by_selectivity
from workbench.plots.style import COLOURS
from workbench.plots.tail import percentile_curves, percentiles
from workbench.plots.way import stages, stages_by

__all__ = [
    "COLOURS",
    "backlog",
    "by_selectivity",
    "churned",
    "compared",
    "fates",
    "front",
    "hit_rates",
    "latency_by_phase",
    "latency_over_time",
    "load_curve",
    "pareto",
    "percentile_curves",
    "percentiles",
    "recall_curves",
    "stages",
    "stages_by",
    "stall",
]
