"""Outputs of a collection: ``/span/collections/{collection}/outputs``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.dialects.span import render_id
from span_events.errors import InvalidRequest
from span_events.fleet.outputs.health import OutputHealth
from span_events.registry.outputs import Output
from span_events.web import documents
from span_events.web import outputs as output_documents
from span_events.web.paths import collection_of, output_of, paged
from span_events.web.rest.bodies.outputs import OutputBody
from span_events.web.rest.bodies.reading import check_tags, read_body
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import SERVICES, TOKEN


async def list(request: web.Request) -> web.Response:
    """List the outputs of a collection."""
    collection = collection_of(request)
    found = request.app[SERVICES].fleet.directory.outputs.of(collection.id)
    shown = [_document(request, each) for each in paged(request, found)]
    return render({"collectionId": render_id(collection.id), "outputs": shown})


async def create(request: web.Request) -> web.Response:
    """Make an output."""
    collection = collection_of(request)
    body = await read_body(request, OutputBody)
    return _show(request, await request.app[SERVICES].fleet.outputs.create(collection, body.change()))


async def get(request: web.Request) -> web.Response:
    """Show an output."""
    return _show(request, output_of(request))


async def update(request: web.Request) -> web.Response:
    """Change an output."""
    output_of(request)  # a missing one is refused before the body is read
    body = await read_body(request, OutputBody)
    output = output_of(request)
    check_tags(output.tags, body.tags)
    if body.collection_id not in (None, render_id(output.collection_id)):
        raise InvalidRequest(
            "collectionId: an output stays in its collection",
            hint="Make one in the other collection, and delete this one.",
            field="collectionId",
        )
    return _show(request, await request.app[SERVICES].fleet.outputs.update(output, body.change()))


async def delete(request: web.Request) -> web.Response:
    """Remove an output; reply with its last state."""
    output = output_of(request)
    await request.app[SERVICES].fleet.outputs.remove(output)
    return _show(request, output)


async def logs(request: web.Request) -> web.Response:
    """Show the last errors of an output."""
    return render(output_documents.output_log(await _health(request, logged=True)))


async def stats(request: web.Request) -> web.Response:
    """Count the deliveries of an output since the server started."""
    return render(documents.output_stats(await _health(request)))


async def status(request: web.Request) -> web.Response:
    """Show whether an output is enabled, and its counters since the server started."""
    output, health = output_of(request), await _health(request)
    return render(output_documents.output_status(output, health, extended=is_extended(request)))


async def _health(request: web.Request, *, logged: bool = False) -> OutputHealth:
    return await request.app[SERVICES].fleet.outputs_everywhere.total([output_of(request)], logged=logged)


def _document(request: web.Request, output: Output) -> documents.Document:
    return output_documents.output(output, secrets=request[TOKEN].write, extended=is_extended(request))


def _show(request: web.Request, output: Output) -> web.Response:
    return render(_document(request, output))


_ALL: Final = "/span/collections/{collection}/outputs"
_ONE: Final = f"{_ALL}/{{output}}"
ROUTES: Final = (
    web.get(_ALL, list),
    web.post(_ALL, create),
    web.get(_ONE, get),
    web.patch(_ONE, update),
    web.delete(_ONE, delete),
    web.get(f"{_ONE}/logs", logs),
    web.get(f"{_ONE}/stats", stats),
    web.get(f"{_ONE}/status", status),
)
