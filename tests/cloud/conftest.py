import io
import uuid
import zipfile
from collections.abc import Callable, Iterator

import pytest

from workbench.cloud import stack
from workbench.settings import Endpoints

_PROCESS = """
import os
import workbench.function
def handler(event, context):
    print("processed", len(event.get("Records", [])))
    return {"batchItemFailures": [], "settings": os.environ["FUNCTION_SETTINGS"],
            "marker": MARKER, "origin": workbench.function.__file__, "names": sorted(os.environ)}
"""
_READ = """
import json
def handler(event, context):
    user = (event["queryStringParameters"] or {}).get("user_id")
    print("asked for", user)
    status, body = (200, {"user_id": user}) if user else (400, {"message": "user_id is missing"})
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
"""


def _zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)  # ZipInfo: a fixed date, so that equal code has an equal hash
    return buffer.getvalue()


@pytest.fixture(scope="session")
def zipped() -> Callable[[dict[str, str]], bytes]:
    """A deployment package of the given files, the same bytes for the same files."""
    return _zipped


@pytest.fixture(scope="session")
def make_code() -> Callable[[str], bytes]:
    """A deployment package with the real handlers' paths; ``marker`` is in what its processing function returns."""

    def make(marker: str) -> bytes:
        return _zipped(
            {
                "workbench/__init__.py": "",
                "workbench/function/__init__.py": "",
                "workbench/function/process.py": f"MARKER = {marker!r}\n{_PROCESS}",
                "workbench/function/read.py": _READ,
            }
        )

    return make


@pytest.fixture
def name(embedded_cloud: Endpoints) -> Iterator[str]:
    """A stack name of the test's own; what the test leaves under it is deleted."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    yield name
    stack.delete(embedded_cloud, name)
