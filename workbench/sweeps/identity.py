"""Which points a sweep has, in which order, and which file each one's result is kept in.

A file's name holds all that the result depends on besides the machine: the settings, the run, and a digest of the task, the
cloud and the code. So a result is never taken for that of other code, and one that is there need not be measured again.
"""

import hashlib
import importlib.util
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from workbench.errors import SettingError
from workbench.measure.provenance import source_digest
from workbench.results import Point
from workbench.settings import Settings


def distinct(settings: Iterable[Settings]) -> list[Settings]:
    """The settings as a list.

    Raises:
        SettingError: there are none, one is no ``Settings``, or two are equal.
    """
    listed = list(settings)
    if not listed:
        raise SettingError("settings", listed, "a sweep needs at least one")
    seen: dict[str, int] = {}
    for position, each in enumerate(listed):
        if not isinstance(each, Settings):
            raise SettingError("settings", each, "each must be a Settings, as in Settings(rate=200)")
        if each.hash in seen:
            where = f"{seen[each.hash]} and {position}"
            raise SettingError("settings", each.hash, f"each once, but those at {where} are equal: {_differing(each)}")
        seen[each.hash] = position
    return listed


def points(settings: list[Settings], repeats: int, context: str) -> tuple[Point, ...]:
    """Run by run all settings, shuffled by the run's number: whatever drifts on the machine hits all of them alike."""
    return tuple(
        Point(each.to_dict(), run, f"{each.hash}-{context}-{run}.parquet")
        for run in range(repeats)
        for each in random.Random(run).sample(settings, len(settings))
    )


def context(task: str, cloud: str, code: str) -> str:
    """8 hex digits for what a sweep's points have in common."""
    return _digest((task, cloud, code))[:8]


def code(function: str) -> str:
    """12 hex digits of the package's source, and of the module that ``function`` ("module:function") is in, as they are on disk.

    Raises:
        SettingError: there is no such module.
    """
    package = Path(__file__).parents[1]
    own, module = source_digest(package), function.partition(":")[0]
    if module.partition(".")[0] == package.name:
        return own
    return _digest((own, module, _source(function, module).read_bytes()))[:12]


def _source(function: str, module: str) -> Path:
    try:
        found = importlib.util.find_spec(module)
    except ImportError:  # of the package that it is in
        found = None
    if found is None or not found.has_location:
        raise SettingError("task", function, f"there is no module {module!r} that Python could import from here")
    return Path(found.origin)


def _digest(parts: Iterable[str | bytes]) -> str:
    digest = hashlib.sha256()
    for part in _bytes(parts):
        digest.update(len(part).to_bytes(8) + part)  # where one ends and the next begins is part of it
    return digest.hexdigest()


def _bytes(parts: Iterable[str | bytes]) -> Iterator[bytes]:
    return (part if isinstance(part, bytes) else part.encode() for part in parts)


def _differing(settings: Settings) -> str:
    """What is not at its default: enough to find the settings by."""
    default = Settings().to_dict()
    changed = {name: value for name, value in settings.to_dict().items() if value != default[name]}
    return ", ".join(f"{name}={value}" for name, value in changed.items()) or "all defaults"
