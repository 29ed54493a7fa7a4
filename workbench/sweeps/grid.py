"""What a command line sweeps over: the product of lists of values, written as text."""

import itertools
import re
from collections.abc import Sequence

from workbench.errors import SettingError
from workbench.settings import Settings


def axes(over: Sequence[str]) -> dict[str, list[str]]:
    """Values by setting, of texts such as ``rate=50,100`` and ``index=flat,hnsw:m=16,ef_search=64,hnsw:m=32``.

    A comma begins a new value unless what follows is a parameter, as in ``,ef_search=64``.

    Raises:
        SettingError: a text without ``=``, an empty value, or a setting that is named twice.
    """
    found: dict[str, list[str]] = {}
    for text in over:
        name, equals, values = text.partition("=")
        listed = re.split(r",(?!\w+=)", values)
        if not equals or not all(listed):
            raise SettingError("over", text, "NAME=VALUE,VALUE,…, as in rate=50,100,200")
        if name in found:
            raise SettingError("over", text, f"{name} is swept over already: name all its values at once")
        found[name] = listed
    return found


def grid(pairs: Sequence[str], over: dict[str, list[str]]) -> list[Settings]:
    """Every combination of ``axes``' values, over the settings that ``pairs`` (as in ``rate=200``) give.

    Raises:
        SettingError: as ``Settings.parse``.
    """
    combinations = itertools.product(*([f"{name}={value}" for value in values] for name, values in over.items()))
    return [Settings.parse([*pairs, *combination]) for combination in combinations]
