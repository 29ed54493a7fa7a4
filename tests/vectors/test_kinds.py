"""What the kinds need, and what contradicts itself."""

import pytest

from workbench.errors import SettingError
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Flat
from workbench.vectors.kinds import check_index, rows_needed


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (Flat(), float("inf")),
        (HNSW(), 1_000),
        (HNSWSQ(), 1_000),
        (IVF(nlist=16), 1_000),
        (IVF(nlist=128), 4_992),  # 39 a centroid
        (IVFPQ(nlist=16), 9_984),  # 39 for each of the 256 centroids of a segment
        (IVFPQ(nlist=1024), 39_936),
    ],
)
def test_rows_needed(index, rows):
    assert rows_needed(index) == rows


@pytest.mark.parametrize("kind", [IVF, IVFPQ])
def test_no_more_cells_are_probed_than_there_are(kind):
    assert check_index(kind(nlist=4, nprobe=4)) == kind(nlist=4, nprobe=4)
    with pytest.raises(SettingError, match="nprobe = 5 is not allowed: at most nlist = 4"):
        check_index(kind(nlist=4, nprobe=5))


def test_segments_divide_the_dimension():
    assert check_index(IVFPQ(segments=48), 384) == IVFPQ(segments=48)
    with pytest.raises(SettingError, match="segments = 48 is not allowed: a divisor of the dimension, 256"):
        check_index(IVFPQ(segments=48), 256)
    for dimension in (384, 768, 1536):  # of MiniLM, MPNet and text-embedding-3-small
        assert check_index(IVFPQ(), dimension) == IVFPQ()
