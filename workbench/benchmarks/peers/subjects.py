"""Who is compared. All graphs are built alike: HNSW with 16 links a node and 100 candidates while building.

``durability`` says what an acknowledged write survives in this configuration, since that decides what an insert costs: the
death of the process, or a power cut, too. Of the peers it was found by counting their calls of fsync and msync while they
insert (strace), of needledb in its source.
"""

from typing import Any

import msgspec

Setting = dict[str, int]  # of a query, by name

_BUILD = {"m": 16, "ef_construction": 100}
_EF = tuple({"ef_search": ef} for ef in (16, 24, 32, 40, 48, 64, 96, 128))
_RECORDS = 1_000  # records a call, in this process
_PROCESS, _POWER = "the death of the process", "a power cut"
_SENT = 250  # and over HTTP: about 1 MB of JSON, half of what Pinecone takes


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """``runner`` is a file of ``runners``. ``environment`` names a peer's own; None is the product's."""

    name: str
    runner: str
    environment: str | None = None
    options: dict[str, Any]
    settings: tuple[Setting, ...] = _EF
    batch: int = _RECORDS
    durability: str


SUBJECTS: dict[str, Subject] = {
    subject.name: subject
    for subject in (
        Subject(
            name="faiss",  # an index and nothing else: what everything beyond it costs
            runner="bare_faiss",
            options=_BUILD,
            durability="nothing",
        ),
        Subject(
            name="store",
            runner="store",
            options={"build": "hnsw:m=16,ef_construction=100", "sync": "normal"},
            durability=_PROCESS,
        ),
        Subject(
            name="store-full",  # beside what syncs each call, too
            runner="store",
            options={"build": "hnsw:m=16,ef_construction=100", "sync": "full"},
            durability=_POWER,
        ),
        Subject(
            name="qdrant-edge",
            runner="qdrant_edge",
            environment="qdrant-edge",
            options=_BUILD,
            durability=_PROCESS,
        ),
        Subject(
            name="chroma",
            runner="chroma",
            environment="chroma",
            options=_BUILD,
            durability=_POWER,
        ),
        Subject(
            name="lancedb",
            runner="lance",
            environment="lancedb",
            options=_BUILD,
            durability=_PROCESS,
        ),
        Subject(
            name="milvus-lite",
            runner="milvus_lite",
            environment="milvus-lite",
            options=_BUILD,
            settings=_EF[-3:],  # a query takes so long that the beam hardly shows
            durability=_PROCESS,
        ),
        Subject(
            name="server",
            runner="over_http",
            options={"kind": "workbench", "sync": "normal", **_BUILD},
            batch=_SENT,
            durability=_PROCESS,
        ),
        Subject(
            name="needledb",
            runner="over_http",
            environment="needledb",
            options={"kind": "needledb", **_BUILD},
            batch=_SENT,
            durability=_PROCESS,
        ),
    )
}
