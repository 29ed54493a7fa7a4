"""The functions' zip: this package's deployable part and the few libraries it needs, byte for byte the same each time.

Libraries are taken from the environment that runs this, so the zip fits Lambda's runtime of the same Python and platform.
"""

import ast
import functools
import io
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

_ROOT = Path(__file__).parents[2]

HANDLERS = ("workbench.function.process", "workbench.function.read")
_BY_NAME = "workbench.codecs"  # its modules are imported by a setting's name, which no import statement shows

LIBRARIES = (
    "anyio",  # httpx
    "boto3",  # DynamoDB and SQS; Lambda has one, but not a pinned one
    "botocore",  # boto3
    "cachetools",  # the profile and product caches
    "certifi",  # httpx
    "h11",  # httpcore
    "httpcore",  # httpx
    "httpx",  # the embedding client, and pinecone
    "idna",  # httpx
    "jmespath",  # botocore
    "msgspec",  # events and settings; pinecone
    "numpy",  # vectors
    "orjson",  # pinecone
    "pinecone",  # the vector store
    "python-dateutil",  # botocore
    "s3transfer",  # boto3 imports it
    "six",  # python-dateutil
    "typing_extensions",  # anyio
    "urllib3",  # botocore
)
# Botocore carries the description of every AWS service, 25 MB zipped: these are what the functions call.
_BOTOCORE_DATA = ("dynamodb", "endpoints.json", "partitions.json", "sdk-default-configuration.json", "sqs", "_retry.json")
_LEFT_OUT = ("/tests/", "/__pycache__/", "/_pyinstaller/", "numpy/f2py/", "numpy/typing/", "pinecone/_grpc", "pinecone/grpc/")
_SUFFIXES_LEFT_OUT = (".pyc", ".pyi", ".a", ".h")
_EPOCH = (2020, 1, 1, 0, 0, 0)  # a fixed time, so that equal contents make equal bytes


def build() -> bytes:
    """The zip. Its handlers are ``workbench.function.process.handler`` and ``workbench.function.read.handler``."""
    sources = tuple((path, path.stat().st_mtime_ns) for path in modules().values())
    return _build(sources)


@functools.lru_cache(maxsize=1)
def _build(sources: tuple) -> bytes:
    """Made once for a state of the sources: compressing 17 MB takes seconds."""
    own = {path.relative_to(_ROOT).as_posix(): path for path, _ in sources}
    contents = dict(sorted([*own.items(), *(entry for name in LIBRARIES for entry in _library(name))]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, path in contents.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, path.read_bytes())
    return buffer.getvalue()


def modules() -> dict[str, Path]:
    """The modules of the workbench that the handlers import, directly or not, and their files."""
    found: dict[str, Path] = {}
    waiting = [*HANDLERS, *(f"{_BY_NAME}.{path.stem}" for path in _path(_BY_NAME).parent.glob("*.py") if path.stem != "__init__")]
    while waiting:
        name = waiting.pop()
        if name in found or not _path(name):
            continue
        found[name] = _path(name)
        waiting += [name.rpartition(".")[0], *_imports(found[name])]
    return found


def _path(name: str) -> Path | None:
    """The file of a module of the workbench; None for anything else."""
    if name.partition(".")[0] != "workbench":
        return None
    path = _ROOT / name.replace(".", "/")
    candidates = (path / "__init__.py", path.with_suffix(".py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imports(path: Path) -> Iterator[str]:
    """What a module imports when it is imported itself: imports inside functions are for other uses than the deployed one."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _library(name: str) -> Iterator[tuple[str, Path]]:
    for file in distribution(name).files or ():
        if _needed(file.as_posix()):
            yield file.as_posix(), Path(file.locate())


def _needed(member: str) -> bool:
    if member.startswith("..") or member.endswith(_SUFFIXES_LEFT_OUT) or any(part in f"/{member}" for part in _LEFT_OUT):
        return False
    if member.startswith("botocore/data/"):
        return member.removeprefix("botocore/data/").partition("/")[0] in _BOTOCORE_DATA
    return ".dist-info/" not in member or member.endswith("METADATA")  # versions are asked for; records differ by installer
