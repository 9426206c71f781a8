"""Collections: ``/span/collections``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.auth import access
from span_events.web import documents
from span_events.web.paths import collection_of, flag_of, paged
from span_events.web.rest.bodies.models import CollectionBody
from span_events.web.rest.bodies.reading import check_tags, read_body
from span_events.web.rest.replies import render
from span_events.web.services import CAUSE, SERVICES, TOKEN
from span_events.web.versions import etag_of, guard_of

_LISTED_MS: Final = 3_600_000
"""Period of the listed message times (Span: the last hour)."""


async def list(request: web.Request) -> web.Response:
    """List the collections that the token reaches."""
    token = request[TOKEN]
    readable = [
        each
        for each in request.app[SERVICES].fleet.directory.collections.values()
        if access.reaches(token, access.resource_of(each.id))
    ]
    return render({"collections": [documents.collection(each) for each in paged(request, readable)]})


async def create(request: web.Request) -> web.Response:
    """Make a collection."""
    body = await read_body(request, CollectionBody)
    collection = await request.app[SERVICES].fleet.collections.create(body.change())
    return render(documents.collection(collection), etag=etag_of(collection))


async def get(request: web.Request) -> web.Response:
    """Show a collection; with ``upstream`` and ``downstream`` also the times of messages."""
    services, collection = request.app[SERVICES], collection_of(request)
    upstream, downstream = flag_of(request, "upstream"), flag_of(request, "downstream")
    document = documents.collection(collection)
    if upstream or downstream:
        since_ms = services.clock.time_ns() // 1_000_000 - _LISTED_MS
        times = await services.fleet.live.times(collection)
        document |= documents.message_times(
            upstream=times.upstream if upstream else None,
            downstream=times.downstream if downstream else None,
            since_ms=since_ms,
        )
    return render(document, etag=etag_of(collection))


async def update(request: web.Request) -> web.Response:
    """Change a collection."""
    collection = collection_of(request)
    change = (await read_body(request, CollectionBody)).change()
    check_tags(collection.tags, change.tags)
    guard = guard_of(request, collection)
    await request.app[SERVICES].fleet.collections.update(collection, change, cause=request[CAUSE], guard=guard)
    return render(documents.collection(collection), etag=etag_of(collection))


async def delete(request: web.Request) -> web.Response:
    """Remove an empty collection; reply with its last state."""
    collection = collection_of(request)
    await request.app[SERVICES].fleet.collections.remove(collection)
    return render(documents.collection(collection))


async def stats(request: web.Request) -> web.Response:
    """Count the devices, gateways and outputs of a collection, and their messages since the server started."""
    collection, fleet = collection_of(request), request.app[SERVICES].fleet
    directory = fleet.directory
    outputs = tuple(directory.outputs.of(collection.id))
    health = await fleet.outputs_everywhere.total(outputs)
    others = await fleet.live.values(collection)
    collection = collection_of(request)  # again: it may have been removed meanwhile
    return render(
        documents.collection_stats(
            directory.devices_of(collection.id),
            directory.gateways_of(collection.id),
            directory.images.of(collection.id),
            directory.blobs.of(collection.id),
            outputs,
            health=health,
            others=others,
        )
    )


_ONE: Final = "/span/collections/{collection}"
ROUTES: Final = (
    web.get("/span/collections", list),
    web.post("/span/collections", create),
    web.get(_ONE, get),
    web.patch(_ONE, update),
    web.delete(_ONE, delete),
    web.get(f"{_ONE}/stats", stats),
)
