"""The data plane's namespaces: list, create, describe and delete."""

from bisect import bisect_right

import msgspec

from workbench.errors import VectorError
from workbench.vectors import records as rules
from workbench.vectors.server import wire
from workbench.vectors.server.data import known, next_page, written
from workbench.vectors.server.indexes import Served
from workbench.vectors.server.request import Answer, Request, limit, one
from workbench.vectors.server.wire_control import Description


async def list_all(request: Request, served: Served) -> Answer:
    """GET /namespaces. The default one is among them if it holds records."""
    parameters = request.parameters()
    prefix, most = one(parameters, "prefix"), limit(parameters, wire.MAX_PAGE)
    after = wire.page_start(one(parameters, "paginationToken")) or ""
    counts = {name or wire.DEFAULT_NAMESPACE: count for name, count in served.store.namespaces().items()}
    names = sorted(name for name in counts if name.startswith(prefix))
    rest = names[bisect_right(names, after) :]
    page = {"namespaces": [_described(served, name, counts[name]) for name in rest[:most]], "total_count": len(names)}
    return Answer(wire.encode({**page, **next_page(rest, most)}))


async def create(request: Request, served: Served) -> Answer:
    """POST /namespaces."""
    asked = wire.decode(await request.body(), wire.CreateNamespace)
    name = rules.check_namespace(asked.name)
    if name in ("", wire.DEFAULT_NAMESPACE):
        raise VectorError(f"namespace {name!r} cannot be created: the default namespace always exists")

    def work() -> dict:
        served.store.create_namespace(name)
        _remember(served, name, asked.schema)
        return _described(served, name, 0)

    return await written(served, work)


async def describe(request: Request, served: Served) -> Answer:
    """GET /namespaces/NAMESPACE."""
    inside = known(served, request.argument)
    count = served.store.stats().get(inside, 0)
    return Answer(wire.encode(_described(served, inside or wire.DEFAULT_NAMESPACE, count)))


async def delete(request: Request, served: Served) -> Answer:
    """DELETE /namespaces/NAMESPACE, with everything in it. The default one is only emptied."""

    def work() -> dict:
        inside = known(served, request.argument)
        if inside:
            served.store.drop_namespace(inside)
            _remember(served, inside, None)
        else:
            served.store.delete()
        return {}

    return await written(served, work)


def _remember(served: Served, name: str, schema: wire.MetadataSchema | None) -> None:
    def changed(before: Description) -> Description:
        others = {other: known for other, known in before.schemas.items() if other != name}
        return msgspec.structs.replace(before, schemas={**others, name: schema} if schema is not None else others)

    if schema is not None or name in served.description.schemas:
        served.indexes.change(served, changed)


def _described(served: Served, name: str, count: int) -> dict:
    schema = served.description.schemas.get(name)
    if schema is None:
        return {"name": name, "record_count": count}
    fields = {"schema": msgspec.to_builtins(schema), "indexed_fields": {"fields": sorted(schema.fields)}}
    return {"name": name, "record_count": count, **fields}
