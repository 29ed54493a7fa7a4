"""Graphs on disk: written whole, and taken back only if they are what was written and what is asked for."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.errors import StoreDamaged
from workbench.settings import HNSW, IVF
from workbench.vectors.index import ApproximateIndex
from workbench.vectors.snapshots import Snapshots
from workbench.vectors.space import Space

DIMENSION, ROWS = 8, 300
INDEX = HNSW(m=4, ef_construction=20, ef_search=64)
MATRIX = np.random.default_rng(0).normal(size=(ROWS, DIMENSION)).astype(np.float32)
VERSIONS = np.arange(1_000, 1_000 + ROWS)


def space(index=INDEX, dimension=DIMENSION, metric="euclidean"):
    return Space(dimension, metric, index, 0.0)


def built(rows=ROWS):
    graph = ApproximateIndex(INDEX, DIMENSION, euclidean=True, unit_length=False)
    for _ in graph.add(MATRIX[:rows]):
        pass
    return graph


def found(graph, rows=ROWS):
    return graph.search(MATRIX[:20] + 0.01, 5, None, MATRIX[:rows], INDEX)[1].tolist()


@pytest.fixture
def folder(tmp_path):
    Snapshots(tmp_path / "graphs", space()).write("name", VERSIONS, built())
    return tmp_path / "graphs"


def test_a_graph_comes_back_as_it_was(folder):
    (snapshot,) = Snapshots(folder, space()).read()
    assert snapshot.namespace == "name"
    assert snapshot.versions.tolist() == VERSIONS.tolist()
    assert len(snapshot.graph) == ROWS and found(snapshot.graph) == found(built())


def test_a_graph_that_came_back_can_be_extended(folder):
    (snapshot,) = Snapshots(folder, space()).read()
    more = np.vstack([MATRIX, MATRIX[:5] + 9])
    for _ in snapshot.graph.add(more[ROWS:]):
        pass
    assert len(snapshot.graph) == ROWS + 5
    assert snapshot.graph.search(more[ROWS:], 1, None, more, INDEX)[1].ravel().tolist() == list(range(ROWS, ROWS + 5))


def test_other_query_settings_are_the_same_graph(folder):
    (snapshot,) = Snapshots(folder, space(HNSW(m=4, ef_construction=20, ef_search=7))).read()
    assert len(snapshot.graph) == ROWS


@pytest.mark.parametrize(
    "asked",
    [
        space(HNSW(m=5, ef_construction=20)),
        space(HNSW(m=4, ef_construction=21)),
        space(IVF(nlist=4, nprobe=4)),
        space(metric="dotproduct"),
        space(dimension=9),
    ],
)
def test_a_graph_of_other_settings_is_removed_and_said(folder, asked):
    (said,) = Snapshots(folder, asked).read()
    assert "hnsw:m=4,ef_construction=20" in said and "\n" not in said
    assert list(folder.iterdir()) == []


def test_a_graph_is_replaced_by_the_next_of_its_namespace(folder):
    graphs = Snapshots(folder, space())
    graphs.write("name", VERSIONS[:100], built(100))
    graphs.write("another", VERSIONS[:50], built(50))
    assert {each.namespace: len(each.graph) for each in graphs.read()} == {"name": 100, "another": 50}
    graphs.remove("name")
    graphs.remove("never written")
    assert [each.namespace for each in graphs.read()] == ["another"]
    assert bool(graphs)
    graphs.remove("another")
    assert not graphs


def test_every_name_has_its_file(tmp_path):
    graphs, names = Snapshots(tmp_path / "graphs", space()), ["", "a/b", "..", "A", "a", "x" * 512, "*.graph"]
    for rows, name in enumerate(names, 10):
        graphs.write(name, VERSIONS[:rows], built(rows))
    assert {each.namespace: len(each.graph) for each in graphs.read()} == {name: rows for rows, name in enumerate(names, 10)}
    assert {path.parent for path in tmp_path.rglob("*.graph")} == {tmp_path / "graphs"}


def test_a_write_that_fails_leaves_the_graph_before(folder):
    class Full:
        def write(self, file):
            file.write(b"some")
            raise OSError(28, "No space left on device")

    graphs = Snapshots(folder, space())
    with pytest.raises(OSError, match="No space"):
        graphs.write("name", VERSIONS, Full())
    assert [len(each.graph) for each in graphs.read()] == [ROWS]
    assert len(list(folder.iterdir())) == 1


def test_a_draft_of_a_process_that_was_killed_is_removed(folder):
    (folder / "0123.draft").write_bytes(b"half a graph")
    assert [len(each.graph) for each in Snapshots(folder, space()).read()] == [ROWS]
    assert [path.suffix for path in folder.iterdir()] == [".graph"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True) | st.floats(0, 0.1), value=st.integers(1, 255))
def test_one_damaged_byte_drops_the_graph(folder, place, value):
    path = next(iter(folder.iterdir()))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= value
    path.write_bytes(damaged)
    (said,) = Snapshots(folder, space()).read()
    assert isinstance(said, str) and said.startswith(path.name) and "\n" not in said
    assert not path.exists()
    path.write_bytes(whole)


@pytest.mark.parametrize("size", [0, 1, 17, 18, 21, 22, 100, 2_000, -5, -1])
def test_a_graph_that_is_cut_short_is_dropped(folder, size):
    path = next(iter(folder.iterdir()))
    path.write_bytes(path.read_bytes()[:size])
    (said,) = Snapshots(folder, space()).read()
    assert "damaged" in said or "no graph" in said
    assert not path.exists()


def test_a_graph_that_says_how_many_rows_it_has_not(folder):
    graphs = Snapshots(folder, space())
    graphs.write("name", VERSIONS[:200], built(100))
    (said,) = graphs.read()
    assert "100 rows, not 200" in said


def test_a_header_that_nobody_reads_any_more_drops_the_graph(folder, monkeypatch):
    """As of an index kind that a later version of the workbench had and this one has not."""
    graphs = Snapshots(folder, space())
    with monkeypatch.context() as patched:
        patched.setattr("workbench.vectors.snapshots.index_text", lambda index: "unheard-of:x=1")
        graphs.write("name", VERSIONS, built())
    (said,) = graphs.read()
    assert "unheard-of" in said and list(folder.iterdir()) == []


def test_an_index_that_faiss_refuses_drops_the_graph(folder):
    class Nonsense:
        def write(self, file):
            file.write(b"IHNf and then nothing of an index")

    graphs = Snapshots(folder, space())
    graphs.write("name", VERSIONS, Nonsense())
    (said,) = graphs.read()
    assert "cannot be read" in said and "\n" not in said


def test_damage_is_a_store_damaged_error_inside(folder):
    path = next(iter(folder.iterdir()))
    path.write_bytes(b"")
    with pytest.raises(StoreDamaged, match="no graph of this version"):
        Snapshots(folder, space())._read(path)
