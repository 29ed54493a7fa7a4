"""The control plane: indexes are listed, created, described, configured and deleted. Each handler gives the answer."""

import asyncio
from collections.abc import Awaitable, Callable

from workbench.vectors.server import wire, wire_control
from workbench.vectors.server.indexes import Indexes, Served
from workbench.vectors.server.request import Answer, Request, in_thread

Handler = Callable[[Request, Indexes], Awaitable[Answer]]

_LOOK_S = 0.005  # between two looks whether the last request of an index has ended


async def list_all(request: Request, indexes: Indexes) -> Answer:
    """GET /indexes."""
    return Answer(wire.encode({"indexes": [_model(request, served) for served in indexes]}))


async def create(request: Request, indexes: Indexes) -> Answer:
    """POST /indexes."""
    description = wire_control.created(await request.body(), request.version, indexes.default)
    served = await in_thread(indexes.create, description)
    return Answer(wire.encode(_model(request, served)), 201)


async def describe(request: Request, indexes: Indexes) -> Answer:
    """GET /indexes/NAME."""
    return Answer(wire.encode(_model(request, indexes.find(request.argument))))


async def configure(request: Request, indexes: Indexes) -> Answer:
    """PATCH /indexes/NAME."""
    body = await request.body()
    served = indexes.find(request.argument)

    def changed(before: wire_control.Description) -> wire_control.Description:
        return wire_control.configured(before, body, request.version, indexes.default)

    await in_thread(indexes.change, served, changed)
    return Answer(wire.encode(_model(request, served)), 202)


async def delete(request: Request, indexes: Indexes) -> Answer:
    """DELETE /indexes/NAME, once the requests that still use it have ended."""
    served = indexes.find(request.argument)
    await in_thread(indexes.leave, served)
    while served.active:
        await asyncio.sleep(_LOOK_S)
    await in_thread(indexes.discard, served)
    return Answer(status=202)


def _model(request: Request, served: Served) -> dict:
    host = f"http://{request.host}/indexes/{served.description.name}"
    return wire_control.index_model(served.description, host, request.version)
