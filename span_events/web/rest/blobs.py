"""Blobs: ``/span/collections/{collection}/blobs``."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from aiohttp import web

from span_events.registry.model import Blob
from span_events.web import documents
from span_events.web.paths import Page, blob_of, collection_of, page_of
from span_events.web.rest.replies import render
from span_events.web.services import SERVICES

LIMIT: Final = 250
"""Default number of listed blobs."""
_HARMLESS: Final = {
    "Cache-Control": "no-store",
    "Content-Disposition": "attachment",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""A device chooses the content of its blobs: a browser must never run it on this origin."""


async def list(request: web.Request) -> web.Response:
    """List the blobs of a collection, newest first."""
    collection = collection_of(request)
    page = page_of(request, default_limit=LIMIT)
    found = [each for each in request.app[SERVICES].fleet.directory.blobs.of(collection.id) if _is_on(page, each)]
    found.sort(key=attrgetter("id"), reverse=True)
    return render({"blobs": [documents.blob(each) for each in found[: page.limit]]})


async def get(request: web.Request) -> web.StreamResponse:
    """Send a blob, octet for octet."""
    blob = blob_of(request)
    path = await request.app[SERVICES].fleet.blobs.file(blob)
    return web.FileResponse(path, headers={**_HARMLESS, "Content-Type": blob.content_type})


async def delete(request: web.Request) -> web.Response:
    """Remove a blob."""
    await request.app[SERVICES].fleet.blobs.remove(blob_of(request))
    return render({})


def _is_on(page: Page, blob: Blob) -> bool:
    created_ms = blob.created_ns // 1_000_000
    return (
        (page.before_id is None or blob.id < page.before_id)
        and (page.start_ms is None or created_ms >= page.start_ms)
        and (page.end_ms is None or created_ms <= page.end_ms)
    )


_ALL: Final = "/span/collections/{collection}/blobs"
ROUTES: Final = (
    web.get(_ALL, list),
    web.get(f"{_ALL}/{{blob}}", get),
    web.delete(f"{_ALL}/{{blob}}", delete),
)
