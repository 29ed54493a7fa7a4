"""The published article's handler, kept as the baseline: corrected only as far as it needs to run.

Corrected, since it could not run, or not on our events:

* as published, a record's data is taken for text / corrected: base64 is decoded (it failed on the first record);
* as published, a client call is used that was removed / corrected: today's clients of the same services;
* as published, the answer's metadata is read but never stored / corrected: product id and description are stored with
  the vector (it failed on a user's second click, the first that finds an earlier one);
* as published, an event carries the text to embed / corrected: ours carries a product id, and one more GetItem reads the
  product's description;
* as published, the time that Lambda has left is reported as latency / corrected: the answer tells when the call began,
  how long each stage took and when each record was done;
* as published, the clients made for a record are dropped / corrected: they are closed, or open connections would end the
  process;
* as published, what the handler returns is ignored / corrected: it is an answer that the event source reads, and carries the
  recommendations so that their quality can be judged.

Not corrected, since this is the design that is compared with ours:

* one record after the other, each with calls of its own;
* a new embedding client and a new vector store client, thus new connections, for each record;
* the profile is read and not used;
* every click's text is embedded, however often it was before: no cache;
* one namespace a user, so that only what the user clicked can be found, and a product clicked twice is found twice;
* the nearest five, less the click itself: four remain (five, if five older clicks are exactly as near);
* the query follows the upsert at once: on a store that is eventually consistent it may not see it;
* no check of an event's ids and time, none for a record that comes again; aggregated records are not unpacked;
* no partial failures: a record that cannot be processed fails its batch, and those before it are done again;
* nobody gets the recommendations: no read model is written.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from workbench.clock import now_ns
from workbench.codecs import codec
from workbench.embedding import Embedder
from workbench.errors import EventRejected
from workbench.events import Event, Record
from workbench.function.entities import Product
from workbench.function.processor import STAGES, timed
from workbench.function.records import data
from workbench.function.tables import Tables
from workbench.settings import Settings
from workbench.vectors import VectorStore

_TOP_K = 5  # one of them is the click itself


class Published:
    """The article's handler, of ``Processor``'s interface. Any number of threads may share one: it keeps nothing.

    ``make_embedder`` and ``make_store`` open a client for one record each and close it when its context is left. Of the
    settings only the codec matters here.

    Raises:
        Exception: what opening a client raises. One of each is opened and closed at once: as published, the clients'
            libraries are imported with the handler and not by the first record.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        dynamodb,
        tables: Tables,
        make_embedder: Callable[[], AbstractContextManager[Embedder]],
        make_store: Callable[[], AbstractContextManager[VectorStore]],
    ) -> None:
        self._dynamodb, self._tables = dynamodb, tables
        self._make_embedder, self._make_store = make_embedder, make_store
        self._codec = codec(settings.codec)
        with make_embedder(), make_store():
            pass

    def process(self, event: dict) -> dict:
        """Lambda's Kinesis event in; out comes ``Processor.process``'s answer, in which nothing ever failed or was rejected.

        ``stages_ns`` is summed over the records. Two more keys: ``records``, ``started_ns`` and ``stages_ns`` of each record by
        its sequence number, and ``recommendations``, the items for each user's last click of the batch (by user id; best
        first: product_id, description, score).

        Raises:
            DecodeError, EventRejected: a record is no event, or its product is unknown; the batch fails as a whole.
            Exception: a dependency failed, or refused an id.
        """
        recommendations: dict[str, list[dict]] = {}
        records: dict[str, dict] = {}
        started_ns = now_ns()
        for record in event.get("Records", []):
            spent = dict.fromkeys(STAGES, 0)
            records[record["kinesis"]["sequenceNumber"]] = {"started_ns": now_ns(), "stages_ns": spent}
            with timed(spent, "decode"):
                click = self._codec.decode(data(record))
            recommendations[click.user_id] = self._recommend(click, spent)
        return {
            "batchItemFailures": [],
            "rejected": {},
            "started_ns": started_ns,
            "stages_ns": {stage: sum(one["stages_ns"][stage] for one in records.values()) for stage in STAGES},
            "records": records,
            "recommendations": recommendations,
        }

    def _recommend(self, click: Event, spent: dict[str, int]) -> list[dict]:
        with timed(spent, "enrich"):
            self._item(self._tables.profiles, "user_id", click.user_id)  # as published: read, and never used
            product = self._product(click)
        with timed(spent, "embed"), self._make_embedder() as embedder:
            (vector,) = vectors = embedder.embed([product.description])
        namespace = f"user-{click.user_id}"
        with ExitStack() as connection:  # closed within the query's time, or here after an error
            with timed(spent, "upsert"):
                store = connection.enter_context(self._make_store())
                about = {"product_id": product.product_id, "description": product.description}
                store.upsert([Record(click.event_id, vector, about)], namespace=namespace)
            with timed(spent, "query"):
                (matches,) = store.query(vectors, top_k=_TOP_K, namespace=namespace)
                connection.close()
        return [{**match.metadata, "score": round(match.score, 4)} for match in matches if match.id != click.event_id]

    def _product(self, click: Event) -> Product:
        item = self._item(self._tables.products, "product_id", click.product_id)
        if item is None:
            raise EventRejected(click.event_id, f"product {click.product_id!r} is not in the products table")
        return Product.from_item(item)

    def _item(self, table: str, key: str, value: str) -> dict | None:
        return self._dynamodb.get_item(TableName=table, Key={key: {"S": value}}).get("Item")
