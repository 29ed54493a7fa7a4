"""How long a user waits for the first word."""

import statistics
import subprocess
import sys
import time

from workbench import places
from workbench.benchmarks.claim import Baseline, Claim, claim

_PAIRS = 11


def import_s(name: str) -> Claim:
    """Wall time of `import workbench` in a fresh interpreter; baseline: the interpreter alone."""
    return _wall(name, ["-c", "import workbench"])


def help_s(name: str) -> Claim:
    """Wall time of `workbench --help` in a fresh interpreter; baseline: the interpreter alone."""
    return _wall(name, ["-m", "workbench", "--help"])


def _wall(name: str, arguments: list[str]) -> Claim:
    def seconds(arguments: list[str]) -> float:
        begun = time.perf_counter()
        subprocess.run([sys.executable, *arguments], cwd=places.ROOT, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - begun

    seconds(arguments)  # compiles the sources
    pairs = [(seconds(arguments), seconds(["-c", "pass"])) for _ in range(_PAIRS)]
    ours, bare = zip(*pairs, strict=True)
    return claim(name, "s", ours, Baseline("the interpreter alone", statistics.median(bare)))
