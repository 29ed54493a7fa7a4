"""The local vector server as a child process, and every backend of the vector store over it."""

import inspect
import itertools

import pytest

from workbench.process import Child
from workbench.vectors import BACKENDS, backend

KEY = "test-key"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def server_url(tmp_path_factory):
    child = Child(
        "vector server", "workbench.vectors.server", log=tmp_path_factory.mktemp("server") / "log", env={"WORKBENCH_API_KEY": KEY}
    )
    try:
        yield child.wait_ready()
    finally:
        child.stop()


@pytest.fixture
def open_store(request):
    """Opens a backend by name; a served one gets an index of its own on the local server."""
    opened = []

    def open(name, *, dimension, metric="cosine"):
        kind = backend(name)
        where = {}
        if "url" in inspect.signature(kind).parameters:
            where = {"url": request.getfixturevalue("server_url"), "key": KEY, "name": f"contract-{next(_numbers)}"}
        opened.append(kind(dimension=dimension, metric=metric, **where))
        return opened[-1]

    yield open
    for store in opened:
        if hasattr(store, "close"):
            store.close()


@pytest.fixture(params=BACKENDS)
def backend_name(request):
    return request.param
