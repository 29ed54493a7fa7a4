"""The official SDK, unchanged, against the local server: every operation that the server has, and that it says so of the others.

Two generations of it speak two versions of the protocol: 10.2.0 is a dependency, 9.0.1 is installed into a folder. Each runs in a
process of its own, which this file is the program of: ``python test_conformance_sdk.py URL KEY``.
"""

import asyncio
import inspect
import os
import subprocess
import sys

import pytest

KEY = "test-key"  # also that of the server fixture
OLDER = "9.0.1"
A, B, C = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0]


@pytest.fixture(scope="session")
def older_sdk(tmp_path_factory):
    """A folder to put before all others on the path."""
    folder = tmp_path_factory.mktemp("older-sdk")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), f"pinecone=={OLDER}"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pinecone {OLDER} cannot be had: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def exercised(url, path=""):
    command = [sys.executable, __file__, url, KEY]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_sdk_that_is_a_dependency(server_url):
    assert exercised(server_url) == ["10.2.0", "sync", "async"]


def test_the_sdk_of_a_generation_before(server_url, older_sdk):
    assert exercised(server_url, str(older_sdk)) == [OLDER, "sync", "async"]


async def done(result):
    """The sync client's result, or what the async client's awaits to."""
    return await result if inspect.isawaitable(result) else result


async def every(pages):
    """All items of a sync or async iterator."""
    pages = await done(pages)
    return [page async for page in pages] if hasattr(pages, "__aiter__") else list(pages)


async def refused(call, *kinds):
    """Its status, where the server refuses it; ``kinds`` are what the SDK may raise."""
    from pinecone.errors import ApiError

    expected = kinds or (ApiError,)
    try:
        await done(call())
    except expected as error:
        assert error.message and "Traceback" not in error.message
        return error.status_code
    raise AssertionError("it was not refused")


async def indexes(client, name, newer):
    """The control plane; leaves one index of three dimensions under cosine."""
    from pinecone import ServerlessSpec
    from pinecone.errors import ConflictError, ForbiddenError, NotFoundError

    place = ServerlessSpec(cloud="aws", region="us-east-1")
    assert not await done(client.has_index(name))
    tags = {"team": "search", "workbench-index": "hnsw:m=8,ef_search=50"}
    made = await done(client.create_index(name=name, dimension=3, metric="cosine", spec=place, tags=tags))
    assert (made.name, made.status.ready, made.deletion_protection) == (name, True, "disabled")
    described = await done(client.describe_index(name))
    assert described.host.startswith("http://127.0.0.1:") and described.host.endswith(f"/indexes/{name}")
    assert (described.dimension, described.metric, dict(described.tags)) == (3, "cosine", tags)
    assert name in [each.name for each in await done(client.list_indexes())]
    assert await refused(lambda: client.create_index(name=name, dimension=3, spec=place), ConflictError) == 409
    assert await refused(lambda: client.describe_index("nowhere"), NotFoundError) == 404
    assert await refused(lambda: client.delete_index("nowhere"), NotFoundError) == 404

    await done(client.configure_index(name, deletion_protection="enabled", tags={"team": "", "stage": "dev"}))
    described = await done(client.describe_index(name))
    assert dict(described.tags) == {"stage": "dev", "workbench-index": tags["workbench-index"]}
    assert described.deletion_protection == "enabled"
    assert await refused(lambda: client.delete_index(name), ForbiddenError) == 403
    await done(client.configure_index(name, deletion_protection="disabled", tags={"workbench-index": "hnsw:m=8,ef_search=90"}))
    assert await refused(lambda: client.configure_index(name, tags={"workbench-index": "hnsw:m=9"})) == 400
    assert await refused(lambda: client.configure_index(name, replicas=2)) == 400

    if newer:
        schema = {"fields": {"_values": {"type": "dense_vector", "dimension": 2, "metric": "dotproduct"}}}
        await done(client.indexes.create(name=f"{name}-new", schema=schema))
        described = await done(client.indexes.describe(f"{name}-new"))
        assert (described.schema.fields["_values"].dimension, described.deployment.region) == (2, "us-east-1")
        await done(client.indexes.delete(f"{name}-new"))
        text = {"fields": {"body": {"type": "string", "full_text_search": {}}}}
        assert await refused(lambda: client.indexes.create(name="documents", schema=text)) == 400
    return described.host if not newer else (await done(client.describe_index(name))).host


async def records(index):
    """Upsert, query, fetch, update, list and delete."""
    rows = [("a", A, {"genre": "drama", "year": 2020}), {"id": "b", "values": B, "metadata": {"genre": "comedy"}}, ("c", C)]
    written = await done(index.upsert(vectors=rows))
    assert written.upserted_count == 3
    found = await done(index.query(vector=A, top_k=2, include_values=True, include_metadata=True))
    assert [(match.id, match.values) for match in found.matches] == [("a", A), ("c", [float(f"{v:.7g}") for v in C])]
    assert abs(found.matches[1].score - 0.6) < 1e-6 and found.matches[0].metadata == {"genre": "drama", "year": 2020}
    assert found.usage.read_units == 1
    assert found.response_info.is_reconciled(written.response_info.lsn_committed)
    by_id = await done(index.query(id="b", top_k=1, filter={"genre": {"$in": ["comedy", "drama"]}}))
    assert [match.id for match in by_id.matches] == ["b"]
    fetched = await done(index.fetch(ids=["a", "nobody"]))
    assert list(fetched.vectors) == ["a"] and fetched.vectors["a"].values == A

    await done(index.update(id="c", values=B, set_metadata={"genre": "drama", "new": True}))
    assert (await done(index.fetch(ids=["c"]))).vectors["c"].metadata == {"genre": "drama", "new": True}
    drama = {"filter": {"genre": {"$eq": "drama"}}, "set_metadata": {"seen": ["x", "y"]}}
    assert (await done(index.update(**drama, dry_run=True))).matched_records == 2
    assert (await done(index.update(**drama))).matched_records == 2
    page = await done(index.fetch_by_metadata(filter={"seen": "y"}, limit=1))
    assert list(page.vectors) == ["a"]
    page = await done(index.fetch_by_metadata(filter={"seen": "y"}, limit=1, pagination_token=page.pagination.next))
    assert list(page.vectors) == ["c"] and page.pagination is None

    await done(index.upsert(vectors=[(f"p{n:03}", A) for n in range(150)], namespace="many", batch_size=50))
    pages = await every(index.list(prefix="p", namespace="many", limit=60))
    assert [len(page.vectors) for page in pages] == [60, 60, 30] and pages[2].vectors[-1].id == "p149"
    assert len((await done(index.list_paginated(namespace="many", limit=5))).vectors) == 5
    both = await done(index.query_namespaces(vector=A, namespaces=["", "many"], metric="cosine", top_k=3))
    assert len(both.matches) == 3 and abs(both.matches[0].score - 1) < 1e-6
    stats = await done(index.describe_index_stats())
    assert (stats.dimension, stats.metric, stats.total_vector_count) == (3, "cosine", 153)
    assert {name: each.vector_count for name, each in stats.namespaces.items()} == {"__default__": 3, "many": 150}
    hits = (await done(index.search(namespace="__default__", top_k=1, vector=A, fields=["year"]))).result.hits
    assert [(hit.id, hit.fields) for hit in hits] == [("a", {"year": 2020})]

    await done(index.delete(ids=["a", "nobody"]))
    await done(index.delete(filter={"genre": "comedy"}))
    assert (await done(index.describe_index_stats())).namespaces["__default__"].vector_count == 1
    await done(index.delete(delete_all=True))
    assert "__default__" not in (await done(index.describe_index_stats())).namespaces


async def namespaces(index):
    from pinecone.errors import ConflictError, NotFoundError

    schema = {"fields": {"year": {"filterable": True}}}
    made = await done(index.create_namespace(name="films", schema=schema))
    assert (made.name, made.record_count, made.indexed_fields.fields) == ("films", 0, ["year"])
    assert await refused(lambda: index.create_namespace(name="films"), ConflictError) == 409
    await done(index.upsert(vectors=[("a", A)], namespace="films"))
    described = await done(index.describe_namespace(name="films"))
    assert (described.record_count, described.schema.fields["year"].filterable) == (1, True)
    pages = await every(index.list_namespaces(limit=1))
    names = [each.name for page in pages for each in getattr(page, "namespaces", [page])]
    assert names == ["films", "many"]
    assert [each.name for each in (await done(index.list_namespaces_paginated(prefix="f"))).namespaces] == ["films"]
    await done(index.delete_namespace(name="films"))
    assert await refused(lambda: index.describe_namespace(name="films"), NotFoundError) == 404
    assert await refused(lambda: index.delete_namespace(name="films"), NotFoundError) == 404


async def errors(client, index):
    """What is wrong, and what is not there, comes back as the SDK's own errors."""
    from pinecone.errors import ServiceError

    assert await refused(lambda: index.upsert(vectors=[("x", [1.0, 2.0])])) == 400
    assert await refused(lambda: index.upsert(vectors=[("x", [0.0, 0.0, 0.0])])) == 400
    assert await refused(lambda: index.query(vector=[0.0, 0.0, 0.0], top_k=1)) == 400
    assert await refused(lambda: index.query(vector=A, top_k=1, filter={"a": {"$regex": "x"}})) == 400
    assert await refused(lambda: index.query(vector=A, top_k=1, sparse_vector={"indices": [1], "values": [1.0]})) == 400
    assert await refused(lambda: index.upsert_records(records=[{"_id": "x", "text": "y"}], namespace="n"), ServiceError) == 501
    assert await refused(lambda: index.search(namespace="n", top_k=1, inputs={"text": "x"}), ServiceError) == 501
    assert await refused(lambda: index.start_import(uri="s3://bucket/folder"), ServiceError) == 501
    assert await refused(lambda: client.list_collections(), ServiceError) == 501
    assert await refused(lambda: client.list_restore_jobs(), ServiceError) == 501


async def wrong_key(kind, url):
    from pinecone.errors import UnauthorizedError

    client = kind(api_key="wrong", host=url)
    assert await refused(lambda: client.list_indexes(), UnauthorizedError) == 401
    index = await done(client.index(host=f"{url}/indexes/any"))
    assert await refused(lambda: index.describe_index_stats(), UnauthorizedError) == 401
    await done(index.close())
    await done(client.close())


async def exercise(kind, url, key, name, newer):
    client = kind(api_key=key, host=url)
    host = await indexes(client, name, newer)
    index = await done(client.index(host=host))
    await records(index)
    await namespaces(index)
    await errors(client, index)
    await done(index.close())
    await done(client.delete_index(name))
    assert name not in [each.name for each in await done(client.list_indexes())]
    await done(client.close())
    await wrong_key(kind, url)


def main():
    import pinecone

    url, key = sys.argv[1:]
    print(pinecone.__version__)
    newer = int(pinecone.__version__.partition(".")[0]) >= 10
    for name, kind in (("sync", pinecone.Pinecone), ("async", pinecone.AsyncPinecone)):
        asyncio.run(exercise(kind, url, key, f"sdk-{name}-{os.getpid()}", newer))
        print(name)


if __name__ == "__main__":
    main()
