"""Implementations by name: a dict of ``"module:Class"``, imported only when it is asked for."""

import importlib
from collections.abc import Mapping

from workbench.errors import SettingError


def implementation(registry: Mapping[str, str], name: str, setting: str) -> type:
    """The class that ``registry`` has under ``name``.

    Raises:
        SettingError: it has none; the error says so of ``setting`` and lists the names.
    """
    if name not in registry:
        raise SettingError(setting, name, f"one of {', '.join(registry)}")
    module, _, attribute = registry[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
