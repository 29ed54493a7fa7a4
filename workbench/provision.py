"""Everything a run needs before its first event: the deployed stack, filled tables, an indexed catalogue."""

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import msgspec

from workbench import embedding, places
from workbench.cloud import stack
from workbench.cloud.clients import client
from workbench.cloud.stack import StackOutputs
from workbench.embedding import Embedder
from workbench.embedding.cache import CachedEmbedder
from workbench.embedding.openai import OpenAIEmbedder
from workbench.errors import SettingError
from workbench.events import Record
from workbench.function import package
from workbench.function.configuration import Configuration
from workbench.function.tables import Tables, batch_write, put_items, slices
from workbench.function.variants import CATALOGUE
from workbench.progress import progress
from workbench.scenarios.retail import Retail
from workbench.settings import Endpoints, Settings
from workbench.stream.leases import Leases
from workbench.vectors import VectorStore

STACK = "workbench"
OPENAI_MODELS = {"text-embedding-3-small": 1536}  # name → dimension
_UPSERT = 250  # records a call: about 1 MB of JSON, half of what Pinecone takes
_WRITERS = 4


class Access(msgspec.Struct, frozen=True):
    """Where an embedding model answers OpenAI's protocol. ``url`` None is OpenAI itself."""

    url: str | None
    key: str


def embedding_access(settings: Settings, endpoints: Endpoints) -> Access:
    """The local embedding server for local models; OpenAI, by ``OPENAI_API_KEY`` and maybe ``OPENAI_BASE_URL``, for its own.

    Raises:
        SettingError: OpenAI's model without its key.
    """
    if settings.embedder not in OPENAI_MODELS:
        return Access(endpoints.embeddings_url, endpoints.embeddings_key)
    key = os.environ.get("OPENAI_API_KEY", "")
    if not key:
        raise SettingError("embedder", settings.embedder, "it needs OPENAI_API_KEY in the environment; minilm needs nothing")
    return Access(os.environ.get("OPENAI_BASE_URL"), key)


def make_embedder(settings: Settings, endpoints: Endpoints) -> CachedEmbedder:
    """The settings' embedder behind the cache that all runs on this machine share."""
    if settings.embedder in OPENAI_MODELS:
        inner = remote_embedder(settings, endpoints, model=settings.embedder, dimension=OPENAI_MODELS[settings.embedder])
    else:
        inner = embedding.embedder(settings.embedder)()
    return CachedEmbedder(inner, path=places.embeddings_file())


def remote_embedder(settings: Settings, endpoints: Endpoints, *, model: str, dimension: int) -> OpenAIEmbedder:
    """A new client of the settings' embedding model behind OpenAI's protocol, without a cache."""
    access = embedding_access(settings, endpoints)
    return OpenAIEmbedder(url=access.url, key=access.key, model=model, dimension=dimension)


def index_name(settings: Settings, embedder: Embedder) -> str:
    """Named after all that decides its contents and shape, so that an index is never taken for another."""
    parts = [settings.scenario, settings.start, settings.catalogue, settings.to_dict()["index"], embedder.model]
    return f"{settings.scenario}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:10]}"


def deploy(settings: Settings, endpoints: Endpoints, embedder: Embedder) -> StackOutputs:
    """The stack with the function as these settings want it; quick where nothing changed."""
    access = embedding_access(settings, endpoints)
    told = Configuration(settings.to_dict(), embedder.model, embedder.dimension, index_name(settings, embedder))
    return stack.deploy(
        endpoints,
        STACK,
        code_zip=package.build(),
        parameters={
            "Runtime": f"python3.{sys.version_info.minor}",
            "ShardCount": settings.shards,
            "VectorsUrl": endpoints.vectors_url or "",
            "VectorsKey": endpoints.vectors_key,
            "EmbeddingsUrl": access.url or "",
            "EmbeddingsKey": access.key,
            "FunctionSettings": told.to_json(),
        },
    )


def fill_tables(endpoints: Endpoints, outputs: StackOutputs, retail: Retail) -> None:
    """Profiles and products into DynamoDB. Repeating it changes nothing."""
    dynamodb = client("dynamodb", endpoints)
    entries = [(outputs.profiles_table, profile) for profile in retail.profiles]
    entries += [(outputs.products_table, product) for product in retail.products]
    with ThreadPoolExecutor(_WRITERS) as pool, progress(len(entries), "filling tables", "item") as bar:

        def put(slice_: list) -> None:
            for table in {table for table, _ in slice_}:
                put_items(dynamodb, table, (entry.to_item() for owner, entry in slice_ if owner == table))
            bar.update(len(slice_))

        for _ in pool.map(put, slices(entries, 100)):
            pass


def fill_index(store: VectorStore, embedder: Embedder, retail: Retail) -> None:
    """The catalogue into its namespace, unless it is there already; every other namespace is emptied."""
    held = store.stats()
    for namespace in held:
        if namespace != CATALOGUE:
            store.delete(namespace=namespace)
    if held.get(CATALOGUE) == len(retail.catalogue):
        return
    with progress(len(retail.catalogue), "filling index", "product") as bar:
        for products in slices(retail.catalogue, _UPSERT):
            vectors = embedder.embed([product.description for product in products])
            records = [
                Record(product.product_id, vector, {"description": product.description, "popularity": product.popularity})
                for product, vector in zip(products, vectors, strict=True)
            ]
            store.upsert(records, namespace=CATALOGUE)
            bar.update(len(products))


def forget_recommendations(endpoints: Endpoints, tables: Tables) -> None:
    """Empty the read model, so that a run starts from users who have done nothing yet."""
    dynamodb = client("dynamodb", endpoints)
    pages = dynamodb.get_paginator("scan").paginate(TableName=tables.recommendations, ProjectionExpression="user_id")
    keys = [item for page in pages for item in page["Items"]]
    batch_write(dynamodb, tables.recommendations, ({"DeleteRequest": {"Key": key}} for key in keys))


def renew_stream(endpoints: Endpoints, outputs: StackOutputs, *, shards: int) -> None:
    """An empty stream of the same name, on the embedded cloud only.

    MiniStack scans every record of a stream on each call, and every iterator of the last five minutes: a run would pay for the
    runs before it. On the other clouds the reader goes on behind its checkpoint.
    """
    if endpoints.cloud != "embedded":
        return
    kinesis, dynamodb = client("kinesis", endpoints), client("dynamodb", endpoints)
    shard_ids = [shard["ShardId"] for shard in kinesis.list_shards(StreamName=outputs.stream_name)["Shards"]]
    kinesis.delete_stream(StreamName=outputs.stream_name)
    kinesis.create_stream(StreamName=outputs.stream_name, ShardCount=shards)
    kinesis.get_waiter("stream_exists").wait(StreamName=outputs.stream_name, WaiterConfig={"Delay": 1})
    leases = Leases(dynamodb, outputs.checkpoints_table, consumer=outputs.process_function, worker="provision")
    for shard_id in shard_ids:  # of a stream that is no more
        leases.forget(shard_id)
