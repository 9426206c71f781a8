"""Gateways of a collection: ``/span/collections/{collection}/gateways``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.errors import InvalidRequest
from span_events.registry.model import Gateway
from span_events.web import documents
from span_events.web.paths import collection_of, gateway_of, paged
from span_events.web.rest.bodies.changes import read_change
from span_events.web.rest.bodies.models import GatewayBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import CAUSE, SERVICES
from span_events.web.versions import etag_of, guard_of


async def list(request: web.Request) -> web.Response:
    """List the gateways of a collection, first those that are built in."""
    collection, fleet = collection_of(request), request.app[SERVICES].fleet
    gateways = paged(request, fleet.directory.gateways_of(collection.id))
    online = await fleet.live.online(collection)
    shown = [documents.gateway(each, extended=is_extended(request), online=each.id in online) for each in gateways]
    return render({"gateways": shown})


async def create(request: web.Request) -> web.Response:
    """Make a gateway."""
    collection = collection_of(request)
    change = (await read_body(request, GatewayBody)).change()
    if change.collection_id not in (None, collection.id):
        raise InvalidRequest("collectionId: is not the collection in the path", field="collectionId")
    gateway = await request.app[SERVICES].fleet.gateways.create(collection, change)
    return await _show(request, gateway)


async def get(request: web.Request) -> web.Response:
    """Show a gateway."""
    return await _show(request, gateway_of(request))


async def update(request: web.Request) -> web.Response:
    """Change a gateway, or move it to another collection."""
    gateway, body = await read_change(request, gateway_of, GatewayBody, what="gateway")
    await request.app[SERVICES].fleet.gateways.update(
        gateway, body.change(), cause=request[CAUSE], guard=guard_of(request, gateway)
    )
    return await _show(request, gateway)


async def delete(request: web.Request) -> web.Response:
    """Remove a gateway, and its block of every device; reply with its last state."""
    gateway = gateway_of(request)
    await request.app[SERVICES].fleet.gateways.remove(gateway, cause=request[CAUSE])
    return await _show(request, gateway)


async def stats(request: web.Request) -> web.Response:
    """Count the messages through a gateway since the server started."""
    gateway = gateway_of(request)
    others = await request.app[SERVICES].fleet.live.values(gateway.collection, of=gateway.id)
    return render(documents.gateway_stats([gateway.traffic, others.gateways]))


async def _show(request: web.Request, gateway: Gateway) -> web.Response:
    etag = etag_of(gateway)
    others = await request.app[SERVICES].fleet.live.values(gateway.collection, of=gateway.id)
    shown = documents.gateway(gateway, extended=is_extended(request), online=gateway.id in others.online)
    return render(shown, etag=etag)


_ALL: Final = "/span/collections/{collection}/gateways"
_ONE: Final = f"{_ALL}/{{gateway}}"
ROUTES: Final = (
    web.get(_ALL, list),
    web.post(_ALL, create),
    web.get(_ONE, get),
    web.patch(_ONE, update),
    web.delete(_ONE, delete),
    web.get(f"{_ONE}/stats", stats),
)
