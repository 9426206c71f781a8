"""Firmware images: ``/span/collections/{collection}/firmware``; their octets are never served over REST."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.dialects.span import render_id
from span_events.errors import NotServed
from span_events.web import documents
from span_events.web.paths import collection_of, image_of, paged
from span_events.web.rest.bodies.changes import read_change
from span_events.web.rest.bodies.image import receive
from span_events.web.rest.bodies.models import ImageBody
from span_events.web.rest.replies import render
from span_events.web.services import CAUSE, SERVICES


async def list(request: web.Request) -> web.Response:
    """List the images of a collection."""
    images = request.app[SERVICES].fleet.directory.images.of(collection_of(request).id)
    return render({"images": [documents.firmware(each) for each in paged(request, images)]})


async def create(request: web.Request) -> web.Response:
    """Make an image."""
    collection, images = collection_of(request), request.app[SERVICES].fleet.images
    async with images.upload(collection) as upload:
        body = await receive(request, upload)
        image = await images.create(
            collection,
            upload,
            version=body.version,
            filename=body.filename or "",
            tags=body.tags,
            cause=request[CAUSE],
        )
    return render(documents.firmware(image))


async def get(request: web.Request) -> web.Response:
    """Show an image."""
    return render(documents.firmware(image_of(request)))


async def update(request: web.Request) -> web.Response:
    """Change an image, or move it to another collection."""
    image, body = await read_change(request, image_of, ImageBody, what="image")
    changed = await request.app[SERVICES].fleet.images.update(image, body.change(), cause=request[CAUSE])
    return render(documents.firmware(changed))


async def delete(request: web.Request) -> web.Response:
    """Remove an image that no device and no collection targets; reply with its last state."""
    image = image_of(request)
    await request.app[SERVICES].fleet.images.remove(image, cause=request[CAUSE])
    return render(documents.firmware(image))


async def labeled(request: web.Request) -> web.Response:
    """Refuse labeled firmware, which only Span has."""
    collection_of(request)
    raise NotServed(
        "Labeled firmware is not served here", hint="Set an image as target: `span-events firmware assign`."
    )


async def usage(request: web.Request) -> web.Response:
    """List the devices that should run an image, and those that do."""
    image = image_of(request)
    found = request.app[SERVICES].fleet.images.usage(image)
    return render(
        {
            "imageId": render_id(image.id),
            "targeted": [render_id(each.id) for each in found.targeted],
            "current": [render_id(each.id) for each in found.current],
        }
    )


async def stats(request: web.Request) -> web.Response:
    """Show the size of an image."""
    return render(documents.firmware_stats([image_of(request)]))


_ALL: Final = "/span/collections/{collection}/firmware"
_ONE: Final = f"{_ALL}/{{image}}"
ROUTES: Final = (
    web.get(_ALL, list),
    web.post(_ALL, create),
    web.route("*", f"{_ALL}/labeled", labeled),  # before the ids: ``labeled`` would match as one
    web.route("*", f"{_ALL}/labeled/{{rest:.*}}", labeled),
    web.get(_ONE, get),
    web.patch(_ONE, update),
    web.delete(_ONE, delete),
    web.get(f"{_ONE}/usage", usage),
    web.get(f"{_ONE}/stats", stats),
)
