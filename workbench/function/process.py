"""Lambda's entry point for batches of the stream. Everything that is made once is made here, when the module is imported.

Environment (the stack sets it): ``PROFILES_TABLE``, ``PRODUCTS_TABLE``, ``RECOMMENDATIONS_TABLE``; ``VECTORS_URL`` and
``VECTORS_KEY`` (Pinecone's protocol); ``EMBEDDINGS_URL`` and ``EMBEDDINGS_KEY`` (OpenAI's); ``FUNCTION_SETTINGS``, a
``Configuration`` in JSON.
"""

import json
import os
import sys

from workbench.cloud.clients import client
from workbench.embedding.cache import CachedEmbedder
from workbench.embedding.openai import OpenAIEmbedder
from workbench.function.configuration import Configuration
from workbench.function.processor import Processor
from workbench.function.tables import Tables
from workbench.settings import Endpoints, Settings
from workbench.vectors.pinecone import PineconeStore


def _processor(env: dict[str, str]) -> Processor:
    told = Configuration.from_json(env["FUNCTION_SETTINGS"])
    settings = Settings.from_dict(told.settings)
    embedder = OpenAIEmbedder(
        url=env["EMBEDDINGS_URL"] or None,
        key=env["EMBEDDINGS_KEY"],
        model=told.embedding_model,
        dimension=told.embedding_dimension,
    )
    store = PineconeStore(
        url=env["VECTORS_URL"] or None,
        key=env["VECTORS_KEY"],
        name=told.index_name,
        dimension=told.embedding_dimension,
    )
    # AWS itself unless AWS_ENDPOINT_URL says otherwise, which emulators set and boto3 reads; credentials likewise.
    endpoints = Endpoints(cloud="aws", region=env["AWS_REGION"])
    return Processor(
        settings,
        dynamodb=client("dynamodb", endpoints),
        tables=Tables(env["PROFILES_TABLE"], env["PRODUCTS_TABLE"], env["RECOMMENDATIONS_TABLE"]),
        embedder=CachedEmbedder(embedder),
        store=store,
    )


_PROCESSOR = _processor(os.environ)
_cold = True


def handler(event: dict, context: object) -> dict:
    """A batch of records in, AWS's partial batch response out (see ``Processor.process``)."""
    global _cold
    answer = {**_PROCESSOR.process(event), "cold": _cold}
    _cold = False
    log = {"records": len(event.get("Records", [])), "rejected": answer["rejected"], "cold": answer["cold"]}
    print(json.dumps(log), file=sys.stderr, flush=True)
    return answer
