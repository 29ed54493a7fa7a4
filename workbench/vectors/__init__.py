"""The vector store: one seam, our FAISS store, a server of Pinecone's protocol over it, the clients of Pinecone and Milvus.

Nothing heavy is imported here, so that the deployed function can carry this package without FAISS.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from workbench.events import Match, Record
from workbench.registry import implementation

BACKENDS = {
    "faiss": "workbench.vectors.store:Store",
    "milvus": "workbench.vectors.milvus.store:MilvusStore",
    "pinecone": "workbench.vectors.pinecone:PineconeStore",
}


class VectorStore(Protocol):
    """Vectors by id in namespaces, with metadata. Every backend passes the same contract tests.

    A write that returned is visible to the next read of the same store, unless the backend says otherwise.
    All methods raise ``VectorError`` for a request that the store refuses.
    """

    def upsert(self, records: Sequence[Record], *, namespace: str = "") -> int:
        """Insert or replace by id; returns how many. All or none of one call is stored."""

    def query(self, vectors: np.ndarray, *, top_k: int, namespace: str = "", filter: dict | None = None) -> list[list[Match]]:
        """The ``top_k`` nearest to each row of float32[n, d], nearest first, with metadata. Fewer if fewer match the filter."""

    def fetch(self, ids: Sequence[str], *, namespace: str = "") -> dict[str, Record]:
        """The records that exist, by id."""

    def update(self, id: str, *, values: object = None, metadata: dict | None = None, namespace: str = "") -> bool:
        """Replace the values, merge the metadata into what is there; False, and nothing, for an unknown id."""

    def delete(self, ids: Iterable[str] | None = None, *, namespace: str = "", filter: dict | None = None) -> None:
        """Delete these ids, or what matches the filter, or (with neither) the whole namespace. Unknown ids are ignored."""

    def ids(self, *, prefix: str = "", namespace: str = "") -> Iterator[str]:
        """Every id that begins with ``prefix``, in no particular order."""

    def stats(self) -> dict[str, int]:
        """How many records each namespace holds."""

    def close(self) -> None:
        """End what the store has open. It is not used afterwards."""


def backend(name: str) -> type:
    """The class behind a backend's name.

    Raises:
        SettingError: there is no such backend.
    """
    return implementation(BACKENDS, name, "vectors")
