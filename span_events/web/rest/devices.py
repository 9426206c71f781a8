"""Devices of a collection: ``/span/collections/{collection}/devices``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.errors import InvalidRequest
from span_events.registry.model import Device
from span_events.web import documents
from span_events.web.paths import collection_of, device_of, paged
from span_events.web.rest.bodies.changes import read_change
from span_events.web.rest.bodies.models import DeviceBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.replies import is_extended, render
from span_events.web.rest.rights import check_change, check_ownership
from span_events.web.services import CAUSE, SERVICES
from span_events.web.versions import etag_of, guard_of


async def list(request: web.Request) -> web.Response:
    """List the devices of a collection."""
    devices = request.app[SERVICES].fleet.directory.devices_of(collection_of(request).id)
    return render(
        {"devices": [documents.device(each, extended=is_extended(request)) for each in paged(request, devices)]}
    )


async def create(request: web.Request) -> web.Response:
    """Make a device."""
    collection = collection_of(request)
    change = (await read_body(request, DeviceBody)).change()
    if change.collection_id not in (None, collection.id):
        raise InvalidRequest("collectionId: is not the collection in the path", field="collectionId")
    check_change(request, change)
    device = await request.app[SERVICES].fleet.devices.create(collection, change, cause=request[CAUSE])
    return _show(request, device)


async def get(request: web.Request) -> web.Response:
    """Show a device."""
    return _show(request, device_of(request))


async def update(request: web.Request) -> web.Response:
    """Change a device, or move it to another collection."""
    device, body = await read_change(request, device_of, DeviceBody, what="device")
    change = body.change()
    check_change(request, change, device)
    await request.app[SERVICES].fleet.devices.update(
        device, change, cause=request[CAUSE], guard=guard_of(request, device)
    )
    return _show(request, device)


async def delete(request: web.Request) -> web.Response:
    """Remove a device; reply with its last state."""
    device = device_of(request)
    check_ownership(request, "the device itself")
    await request.app[SERVICES].fleet.devices.remove(device, cause=request[CAUSE])
    return _show(request, device)


async def stats(request: web.Request) -> web.Response:
    """Count a device's messages and sessions since the server started."""
    device = device_of(request)
    others = await request.app[SERVICES].fleet.live.values(device.collection, of=device.id)
    return render(documents.device_stats([device.traffic, others.devices]))


def _show(request: web.Request, device: Device) -> web.Response:
    return render(documents.device(device, extended=is_extended(request)), etag=etag_of(device))


_ALL: Final = "/span/collections/{collection}/devices"
_ONE: Final = f"{_ALL}/{{device}}"
ROUTES: Final = (
    web.get(_ALL, list),
    web.post(_ALL, create),
    web.get(_ONE, get),
    web.patch(_ONE, update),
    web.delete(_ONE, delete),
    web.get(f"{_ONE}/stats", stats),
)
