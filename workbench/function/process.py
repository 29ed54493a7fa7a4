"""Lambda's entry point for batches of the stream. Everything that is made once is made here, when the module is imported.

Environment (the stack sets it): ``PROFILES_TABLE``, ``PRODUCTS_TABLE``, ``RECOMMENDATIONS_TABLE``; ``DEAD_LETTER_QUEUE_URL``;
``VECTORS_URL`` and ``VECTORS_KEY`` (Pinecone's protocol); ``EMBEDDINGS_URL`` and ``EMBEDDINGS_KEY`` (OpenAI's);
``FUNCTION_SETTINGS``, a ``Configuration`` in JSON.
"""

import json
import os
import sys
from contextlib import closing

from workbench.cloud.clients import client
from workbench.embedding.cache import CachedEmbedder
from workbench.embedding.openai import OpenAIEmbedder
from workbench.function.configuration import Configuration
from workbench.function.processor import Processor
from workbench.function.published import Published
from workbench.function.rejects import Rejects
from workbench.function.tables import Tables
from workbench.settings import Endpoints, Settings
from workbench.vectors.pinecone import PineconeStore


def _function(env: dict[str, str]) -> Processor | Published:
    """The handler that the settings name; both are in every zip."""
    told = Configuration.from_json(env["FUNCTION_SETTINGS"])
    settings = Settings.from_dict(told.settings)
    # AWS itself unless AWS_ENDPOINT_URL says otherwise, which emulators set and boto3 reads; credentials likewise.
    here = Endpoints(cloud="aws", region=env["AWS_REGION"])
    dynamodb = client("dynamodb", here)
    tables = Tables(env["PROFILES_TABLE"], env["PRODUCTS_TABLE"], env["RECOMMENDATIONS_TABLE"])

    def embedder() -> OpenAIEmbedder:
        return OpenAIEmbedder(
            url=env["EMBEDDINGS_URL"] or None,
            key=env["EMBEDDINGS_KEY"],
            model=told.embedding_model,
            dimension=told.embedding_dimension,
        )

    def store() -> PineconeStore:
        return PineconeStore(
            url=env["VECTORS_URL"] or None,
            key=env["VECTORS_KEY"],
            name=told.index_name,
            dimension=told.embedding_dimension,
        )

    if settings.handler == "published":
        return Published(settings, dynamodb=dynamodb, tables=tables, make_embedder=embedder, make_store=lambda: closing(store()))
    rejects = Rejects(client("sqs", here), env["DEAD_LETTER_QUEUE_URL"])
    cached = CachedEmbedder(embedder())
    return Processor(settings, dynamodb=dynamodb, tables=tables, embedder=cached, store=store(), rejects=rejects)


_FUNCTION = _function(os.environ)
_cold = True


def handler(event: dict, context: object) -> dict:
    """A batch of records in, AWS's partial batch response out (see ``Processor.process`` and ``Published.process``)."""
    global _cold
    answer = {**_FUNCTION.process(event), "cold": _cold}
    _cold = False
    log = {"records": len(event.get("Records", [])), "rejected": answer["rejected"], "cold": answer["cold"]}
    print(json.dumps(log), file=sys.stderr, flush=True)
    return answer
