"""The alias: one record, in any backend."""

import numpy as np
import pytest

from workbench.errors import SettingError, VectorError
from workbench.events import Record
from workbench.vectors.alias import DIMENSION, NAMESPACE, Alias, Route


def test_every_backend_keeps_a_route_and_replaces_it_as_a_whole(open_store, backend_name):
    store = open_store(backend_name, dimension=DIMENSION)
    alias, other = Alias(store), Alias(store, "shop")
    alias.write(Route("a", ("a", "b"), ("b", "a", "c")))
    other.write(Route.only("x"))
    assert alias.read() == Route("a", ("a", "b"), ("b", "a", "c")) and other.read() == Route("x", ("x",), ("x",))
    alias.write(Route.only("c"))
    assert Alias(store).read() == Route.only("c") and other.read() == Route.only("x")


def test_what_is_no_route_is_refused(open_store):
    store = open_store("faiss", dimension=DIMENSION)
    with pytest.raises(VectorError, match="alias 'live' does not exist") as error:
        Alias(store).read()
    assert error.value.status == 404
    for metadata in ({"live": "a"}, {"live": "a", "complete": ["b"], "writes": ["a", "b"]}):
        store.upsert([Record("live", np.ones(DIMENSION, np.float32), metadata)], namespace=NAMESPACE)
        with pytest.raises(VectorError, match="alias 'live' holds no route: "):
            Alias(store).read()


@pytest.mark.parametrize(
    ("live", "complete", "writes", "name"),
    [
        ("a", (), ("a",), "live"),
        ("a", ("b",), ("a", "b"), "live"),
        ("a", ("a", "b"), ("a",), "complete"),
        ("a", ("a",), ("a", "a"), "writes"),
        ("a", ("a", "a"), ("a",), "writes"),
    ],
)
def test_a_route_that_would_read_what_is_not_written_is_refused(live, complete, writes, name):
    with pytest.raises(SettingError) as error:
        Route(live, complete, writes)
    assert error.value.name == name
