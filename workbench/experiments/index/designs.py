"""What is swept over, and what its points are called."""

from collections.abc import Sequence

import msgspec

from workbench.settings import Flat, Index, Settings, parse_index
from workbench.tasks import baskets
from workbench.vectors.index import rows_needed

GRID = (  # each is asked at its own query setting and at its halves
    "flat",
    "hnsw:m=16,ef_construction=100,ef_search=512",
    "hnsw:m=32,ef_construction=100,ef_search=512",
    "hnsw-sq:m=16,ef_construction=100,ef_search=512,refine=2",
    "ivf:nlist=128,nprobe=64",
    "ivf:nlist=1024,nprobe=128",
    "ivf-pq:nlist=128,segments=48,nprobe=64,refine=8",
)
_NAMES = {"flat": "exact", "hnsw": "HNSW", "hnsw-sq": "HNSW-SQ", "ivf": "IVF", "ivf-pq": "IVF-PQ"}
_FIELDS = {"m": "m", "ef_construction": "efC", "ef_search": "ef"}


def designs(base: Settings, sizes: Sequence[int], indexes: Sequence[str]) -> list[Settings]:
    """Every index over every number of texts, but for those that need more vectors to be built than there are.

    Raises:
        SettingError: a text that is no index.
    """
    parsed = [parse_index(text) for text in indexes]
    return [
        base.but(catalogue=size, index=index)
        for size in sizes
        for index in parsed
        if isinstance(index, Flat) or rows_needed(index) <= size
    ]


def prepare(settings: Sequence[Settings]) -> None:
    """Embed what these will index and ask, with a progress bar; what was embedded before is not embedded again."""
    for each in settings:
        baskets.load(each)


def build_text(index: Index) -> str:
    """What is built, as in ``HNSW m=16 efC=100``."""
    fields = [f"{_FIELDS.get(name, name)}={value}" for name, value in _options(index, asked=False)]
    return " ".join([_NAMES[index.__struct_config__.tag], *fields])


def query_text(index: Index) -> str:
    """How it is asked, as in ``ef 64``; "" where there is no choice."""
    return ", ".join(f"{_FIELDS.get(name, name)} {value}" for name, value in _options(index, asked=True))


def _options(index: Index, *, asked: bool) -> list[tuple[str, int]]:
    return [(name, value) for name, value in msgspec.structs.asdict(index).items() if (name in index.query_fields) == asked]
