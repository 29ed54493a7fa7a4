"""A connection to Milvus, and the collection that is one index. The only place that imports pymilvus."""

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from workbench.errors import ServiceError, SettingError, VectorError
from workbench.settings import HNSW, IVF, Flat, Index
from workbench.vectors.records import MAX_ID

_NO_PINGS = {"grpc.keepalive_time_ms": 2**31 - 1}  # pymilvus' every 10 s are too many for Lite: it hangs up on the third
TIMEOUT_S = 60.0  # of one call; without one, pymilvus repeats it for minutes
_LOOK_S, _WRITTEN_S = 0.05, 30.0  # between two attempts to load what is still being written, and for how long in all
METRICS = {"cosine": "COSINE", "dotproduct": "IP", "euclidean": "L2"}  # Milvus' L2 is the squared distance, as ours

_open_files: Counter[str | None] = Counter()  # a file has one server in this process, whoever opens it
_opening = threading.Lock()


def connect(uri: str, token: str):
    """A ``MilvusClient``; the first of a file starts its server in this process. ``disconnect`` ends both.

    Raises:
        SettingError: the uri is neither a file's nor a server's.
        ServiceError: nothing answers there, or the file cannot be opened.
    """
    if not uri.startswith(("http://", "https://")) and not uri.endswith(".db"):
        raise SettingError("uri", uri, "a file ending in .db, or http://host:port")
    from pymilvus import MilvusClient
    from pymilvus.exceptions import MilvusException

    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print the traceback of every error that they raise as well
    file = _file(uri)
    with _opening:
        try:
            client = MilvusClient(file or uri, token=token, timeout=10.0, grpc_options=_NO_PINGS if file else {})
        except (MilvusException, ValueError) as error:
            raise ServiceError(f"Milvus at {uri} does not open: {getattr(error, 'message', error)}") from error
        _open_files[file] += 1
    return client


def disconnect(client, uri: str) -> None:
    """Close the client; the last one of a file closes the file."""
    file = _file(uri)
    with _opening:
        client.close()
        _open_files[file] -= 1
        if file and not _open_files[file]:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(file)


def _file(uri: str) -> str | None:
    return None if "://" in uri else str(Path(uri).absolute())


@contextlib.contextmanager
def errors(uri: str) -> Iterator[None]:
    """pymilvus' and gRPC's errors as the workbench's, in one line."""
    import grpc
    from pymilvus.client.types import Status
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except grpc.RpcError as error:
        raise ServiceError(f"Milvus at {uri} does not answer: {error.code().name}") from error
    except MilvusException as error:
        message = " ".join(str(error.message).split())
        if isinstance(error.code, grpc.StatusCode) or error.code == Status.CONNECT_FAILED or "Retry timeout" in message:
            raise ServiceError(f"Milvus at {uri} does not answer: {message[:200]}") from error
        raise VectorError(message) from error


def open_collection(client, name: str, dimension: int, metric: str, index: Index) -> None:
    """Create the collection if it is missing, check what is there, and load it.

    Raises:
        VectorError: it exists with another dimension, metric or index (status 409).
    """
    from pymilvus import DataType

    kind, parameters = _build(index)
    if not client.has_collection(name, timeout=TIMEOUT_S):
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("key", DataType.VARCHAR, is_primary=True, max_length=4 * MAX_ID + 1)
        schema.add_field("namespace", DataType.VARCHAR, is_partition_key=True, max_length=2 * MAX_ID)
        schema.add_field("metadata", DataType.JSON)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
        client.create_collection(name, schema=schema, consistency_level="Strong", timeout=TIMEOUT_S)
    if not client.list_indexes(name, "vector", timeout=TIMEOUT_S):
        build = client.prepare_index_params()
        # Once more inside, or pymilvus 3.0 sends them one by one, and Lite 3.2 builds with its defaults instead.
        nested = {"params": parameters}
        build.add_index("vector", index_name="vector", index_type=kind, metric_type=METRICS[metric], params=nested)
        client.create_index(name, build, timeout=TIMEOUT_S, sync=False)  # of nothing yet: waiting takes half a second
    fields = {field["name"]: field for field in client.describe_collection(name, timeout=TIMEOUT_S)["fields"]}
    about = client.describe_index(name, "vector", timeout=TIMEOUT_S) or {}
    described = {**about, **(about.get("params") or {})}  # a cluster says them one by one, and as text
    build_held = {name: int(described.get(name, value)) for name, value in parameters.items()}
    held = (fields.get("vector", {}).get("params", {}).get("dim"), about.get("metric_type"), about.get("index_type"), build_held)
    wanted = (dimension, METRICS[metric], kind, parameters)
    if held != wanted or not {"key", "namespace", "metadata"} <= set(fields):
        shown = ["dimension {}, metric {} and index {} {}".format(*each) for each in (held, wanted)]
        raise VectorError(f"collection {name!r} exists with {shown[0]}, not with {shown[1]}", 409)
    client.load_collection(name, timeout=TIMEOUT_S)


def load_anew(client, name: str, timeout_s: float) -> None:
    """Load a collection after a flush. Lite says that an index is ready before it is: what it loads anew has one.

    It may meet a file that Lite is still writing in the background, and refuse it as cut short: then it is loaded once more.
    """
    from pymilvus.exceptions import MilvusException

    deadline = time.monotonic() + min(timeout_s, _WRITTEN_S)
    while True:
        client.release_collection(name, timeout=timeout_s)
        try:
            client.load_collection(name, timeout=timeout_s)
            return
        except MilvusException:
            if time.monotonic() > deadline:
                raise
        time.sleep(_LOOK_S)


def search_parameters(index: Index, limit: int) -> dict[str, int]:
    """The query settings, for ``limit`` neighbours."""
    match index:
        case HNSW(ef_search=ef_search):
            return {"ef": max(ef_search, limit)}  # Milvus refuses ef < limit
        case IVF(nprobe=nprobe):
            return {"nprobe": nprobe}
    return {}


def _build(index: Index) -> tuple[str, dict[str, int]]:
    """Milvus' name for a kind of index, and its build settings."""
    match index:
        case Flat():
            return "FLAT", {}
        case HNSW(m=m, ef_construction=ef_construction):
            return "HNSW", {"M": m, "efConstruction": ef_construction}
        case IVF(nlist=nlist, nprobe=nprobe):
            if nprobe > nlist:
                raise SettingError("nprobe", nprobe, f"at most nlist = {nlist}")
            return "IVF_FLAT", {"nlist": nlist}
    raise SettingError("index", index, "Flat, HNSW or IVF")  # Lite refines no codes, and has no product quantisation
