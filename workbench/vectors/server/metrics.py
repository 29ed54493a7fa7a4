"""What the server counts, as Prometheus reads it (prometheus.io/docs/instrumenting/exposition_formats): GET /metrics."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from workbench.vectors.server.indexes import Indexes

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_PREFIX = "workbench_vectors_"


class Metrics:
    """Requests by route and status, and how long they took. Only the event loop counts."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, int]] = Counter()
        self._buckets: dict[str, list[int]] = {}
        self._seconds: Counter[str] = Counter()

    def count(self, route: str, status: int, seconds: float) -> None:
        """One request that was answered."""
        self._requests[route, status] += 1
        self._seconds[route] += seconds
        buckets = self._buckets.get(route)
        if buckets is None:
            buckets = self._buckets[route] = [0] * (len(_BUCKETS_S) + 1)
        buckets[bisect_left(_BUCKETS_S, seconds)] += 1

    def text(self, indexes: Indexes) -> bytes:
        """All of it, and the state of every index."""
        return "\n".join([*self._of_requests(), *_of_indexes(indexes), ""]).encode()

    def _of_requests(self) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered, by route and HTTP status.")
        for (route, status), count in sorted(self._requests.items()):
            yield f'{_PREFIX}requests_total{{route="{route}",status="{status}"}} {count}'
        name = f"{_PREFIX}request_seconds"
        yield from _head("request_seconds", "histogram", "From a request's headers to its answer's last byte.")
        for route, buckets in sorted(self._buckets.items()):
            total = 0
            for bound, count in zip((*_BUCKETS_S, "+Inf"), buckets, strict=True):
                total += count
                yield f'{name}_bucket{{route="{route}",le="{bound}"}} {total}'
            yield f'{name}_sum{{route="{route}"}} {self._seconds[route]:.6f}'
            yield f'{name}_count{{route="{route}"}} {total}'


def _of_indexes(indexes: Indexes) -> Iterator[str]:
    stores = [(served.description.name, served.store) for served in indexes]
    counts = {name: store.namespaces() for name, store in stores}
    figures = {
        "records": ("Records that reads see.", {name: sum(held.values()) for name, held in counts.items()}),
        "namespaces": ("Namespaces.", {name: len(held) for name, held in counts.items()}),
        "builds": ("Index builds and other upkeep, waiting or under way.", {name: store.building for name, store in stores}),
        "log_bytes": ("The log's size on disk.", {name: store.log_bytes() for name, store in stores}),
        "lsn": ("The last acknowledged write.", {name: store.lsn for name, store in stores}),
        "visible_lsn": ("The last write that reads see.", {name: store.visible_lsn for name, store in stores}),
    }
    for figure, (about, values) in figures.items():
        yield from _head(figure, "gauge", about)
        for name, value in values.items():
            yield f'{_PREFIX}{figure}{{index="{name}"}} {value}'


def _head(name: str, kind: str, about: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}{name} {about}"
    yield f"# TYPE {_PREFIX}{name} {kind}"
