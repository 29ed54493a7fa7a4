"""Vector Stream Workbench: measure an event-driven vector pipeline on one machine before paying for a cloud.

::

    from workbench import Settings, run, services

    with services() as running:
        inline = run(Settings(rate=100), running)
    inline.measured.latency_ms.quantile(0.99)
"""

import importlib

_HOMES = {
    "Finding": "workbench.finding:Finding",
    "Settings": "workbench.settings:Settings",
    "plots": "workbench.plots",
    "results": "workbench.results",
    "run": "workbench.pipeline:run",
    "services": "workbench.servers:services",
    "summaries": "workbench.summaries",
    "sweep": "workbench.sweeps:sweep",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Public names are imported when they are first used: `import workbench` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    module, _, attribute = _HOMES[name].partition(":")
    home = importlib.import_module(module)
    return getattr(home, attribute) if attribute else home


def __dir__() -> list[str]:
    return __all__
