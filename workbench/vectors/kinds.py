"""What each kind of index is in FAISS: how it is made, asked and told from others, and what it needs and costs.

Inner products go to HNSW as they are, although they are no distance. Lengths that differ spoil its graph little: recall@10 at
ef_search = 128 on 8,000 embeddings of 384 was 0.997 at length 1, and 0.986 and 0.973 with lengths spread lognormally by 0.3 and
0.6 (euclidean: 0.997, 0.989, 0.962). The reduction to euclidean by one more dimension (Bachrach et al. 2014) gave 0.61 and 0.37.
"""

import functools

import faiss

from workbench.errors import SettingError
from workbench.settings import HNSW, HNSWSQ, IVF, IVFPQ, Flat, Index

HNSW_MINIMUM = 1_000  # below it an exact scan is as fast: 0.03 ms at 1,000 rows of 384
MINIMUM_PER_CENTROID = 39  # faiss.ClusteringParameters.min_points_per_centroid; with fewer FAISS prints a warning
_PQ_CENTROIDS = 256  # of a segment, which one byte tells apart


def check_index(settings: Index, dimension: int | None = None) -> Index:
    """The settings, or ``SettingError`` where they contradict themselves or (if it is given) the vectors' dimension."""
    if isinstance(settings, IVF | IVFPQ) and settings.nprobe > settings.nlist:
        raise SettingError("nprobe", settings.nprobe, f"at most nlist = {settings.nlist}")
    if isinstance(settings, IVFPQ) and dimension is not None and dimension % settings.segments:
        raise SettingError("segments", settings.segments, f"a divisor of the dimension, {dimension}")
    return settings


def rows_needed(settings: Index) -> float:
    """From how many rows on an index is built; until then, and always for Flat, search is exact."""
    match settings:
        case Flat():
            return float("inf")
        case HNSW() | HNSWSQ():
            return HNSW_MINIMUM
        case IVF():
            return max(HNSW_MINIMUM, settings.nlist * MINIMUM_PER_CENTROID)
        case IVFPQ():
            return max(_PQ_CENTROIDS, settings.nlist) * MINIMUM_PER_CENTROID


def empty(settings: Index, dimension: int, euclidean: bool, unit_length: bool) -> faiss.Index:
    """FAISS's index of a kind, untrained and without rows."""
    metric = faiss.METRIC_L2 if euclidean else faiss.METRIC_INNER_PRODUCT
    match settings:
        case HNSW():
            index = faiss.IndexHNSWFlat(dimension, settings.m, metric)
        case HNSWSQ():
            index = faiss.IndexHNSWSQ(dimension, faiss.ScalarQuantizer.QT_8bit, settings.m, metric)
        case IVF():
            index = faiss.IndexIVFFlat(faiss.IndexFlat(dimension, metric), dimension, settings.nlist, metric)
        case IVFPQ():
            cells = faiss.IndexFlat(dimension, metric)
            index = faiss.IndexIVFPQ(cells, dimension, settings.nlist, settings.segments, 8, metric)
        case _:
            raise SettingError("index", settings, "a kind that is built: hnsw, hnsw-sq, ivf or ivf-pq")
    if isinstance(settings, HNSW | HNSWSQ):
        index.hnsw.efConstruction = settings.ef_construction
    else:
        index.cp.spherical = unit_length
    return index


@functools.lru_cache(maxsize=1024)  # making one takes 4 µs; FAISS only reads it
def parameters(settings: Index, wider: float) -> faiss.SearchParameters:
    """For a search that looks ``wider`` times as far as the settings say: recall of rows further away stays what it was."""
    if isinstance(settings, HNSW | HNSWSQ):
        return faiss.SearchParametersHNSW(efSearch=round(settings.ef_search * wider))
    return faiss.SearchParametersIVF(nprobe=min(settings.nlist, round(settings.nprobe * wider)))


def compared(settings: Index, covered: int, looked: int, wider: float) -> float:
    """How many rows an exact search compares in the time of such a search, by measurement at 20,000 and 100,000 rows of 384."""
    match settings:
        case HNSW(m=m, ef_search=ef) | HNSWSQ(m=m, ef_search=ef):
            return max(ef * wider, looked) * m / 2
        case IVF(nlist=nlist, nprobe=nprobe):
            return covered * nprobe * wider / nlist
        case IVFPQ(nlist=nlist, nprobe=nprobe):
            return covered * nprobe * wider / nlist / 4


def build(index: faiss.Index) -> tuple:
    """What tells one build from another, of what FAISS writes."""
    build = (type(index).__name__, f"d={index.d}", "euclidean" if index.metric_type == faiss.METRIC_L2 else "inner product")
    if hasattr(index, "hnsw"):
        build += (f"m={index.hnsw.nb_neighbors(1)}", f"ef_construction={index.hnsw.efConstruction}")
    else:
        build += (f"nlist={index.nlist}",)
    if isinstance(index, faiss.IndexIVFPQ):
        build += (f"segments={index.pq.M}",)
    return build


def make_room(index: faiss.Index, rows: int) -> None:
    """Room for more rows, so that the first ones added do not wait (0.1 s at 100,000) until all that was read has moved."""
    graph, codes = index.hnsw, faiss.downcast_index(index.storage)
    sizes = ((codes.codes, codes.code_size), (graph.neighbors, graph.nb_neighbors(0)), (graph.levels, 1), (graph.offsets, 1))
    for vector, each in sizes:
        size = vector.size()
        vector.resize(size + rows * each)
        vector.resize(size)
