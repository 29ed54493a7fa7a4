"""What a figure depends on besides its settings: machine, versions, threads, commit and code."""

import functools
import hashlib
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from workbench.places import ROOT

_LIBRARIES = (
    "boto3",
    "distributed",
    "faiss-cpu",
    "hdrhistogram",
    "ministack",
    "numpy",
    "pandas",
    "pinecone",
    "pyarrow",
    "sentence-transformers",
    "torch",
)


def provenance() -> dict[str, str]:
    """Hardware, operating system, Python, library versions, native threads, git commit and a hash of the code.

    ``commit`` ends in "+ changes" if the tree is not clean. ``code`` is 12 hex digits over the package's own source files, so
    that results of changed code are told apart even without a commit. ``threads`` are of this process, now: pools that are not
    loaded yet, and those of the servers beside it, are not seen. All else is read once a process, as are the modules that run.
    """
    return {**_fixed(), "threads": _threads()}


@functools.cache
def _fixed() -> dict[str, str]:
    import psutil

    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "libraries": ", ".join(f"{name} {found}" for name in _LIBRARIES if (found := _version(name))),
        "commit": _commit(),
        "code": source_digest(ROOT / "workbench"),
    }


def _threads() -> str:
    """Each kind of native pool with its size, as in "openblas 2, openmp 2", and what torch and faiss say that they use.

    Both of these bring an OpenMP of their own, and which one the second uses is up to the loader: hence their own word.
    """
    import threadpoolctl

    sizes = {f"{pool['internal_api']} {pool['num_threads']}" for pool in threadpoolctl.threadpool_info()}
    if torch := sys.modules.get("torch"):  # not imported for this: it would change what is described
        sizes.add(f"torch {torch.get_num_threads()}")
    if faiss := sys.modules.get("faiss"):
        sizes.add(f"faiss {faiss.omp_get_max_threads()}")
    return ", ".join(sorted(sizes))


def source_digest(package: Path) -> str:
    """12 hex digits over the paths and contents of a package's own source files, as they are on disk."""
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*.py"), key=lambda path: path.relative_to(package).as_posix()):
        contents = path.read_bytes()
        sources.update(f"{path.relative_to(package).as_posix()}\0{len(contents)}\0".encode() + contents)
    return sources.hexdigest()[:12]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as info:
            return next(line.split(":", 1)[1].strip() for line in info if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit} + changes" if _git("status", "--porcelain") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
