"""Vector Stream Workbench: measure an event-driven vector pipeline on one machine before paying for a cloud.

::

    from workbench import Settings, run, services

    with services() as running:
        inline = run(Settings(rate=100), running)
    inline.measured.latency_ms.quantile(0.99)
"""

import importlib

_HOMES = {
    "Endpoints": "workbench.settings",
    "Figure": "workbench.finding",
    "Finding": "workbench.finding",
    "Run": "workbench.pipeline",
    "Settings": "workbench.settings",
    "WorkbenchError": "workbench.errors",
    "run": "workbench.pipeline",
    "services": "workbench.services",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Public names are imported when they are first used: `import workbench` alone costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'workbench' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
