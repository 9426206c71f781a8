"""Events of a ChirpStack server, by its HTTP integration: ``/span/collections/{collection}/chirpstack``."""

from __future__ import annotations

from aiohttp import web

from span_events.errors import InvalidRequest
from span_events.web.paths import collection_of
from span_events.web.rest.replies import render
from span_events.web.services import CAUSE, SERVICES


async def create(request: web.Request) -> web.Response:
    """Take an event; ChirpStack appends its own parameter ``event`` to those of the URL, so the last one counts."""
    collection_of(request)  # a missing resource is refused before the body is read
    given = request.query.getall("event", [])
    if not given:
        raise InvalidRequest(
            "There is no query parameter event",
            hint="ChirpStack's HTTP integration appends it: ?event=up.",
            field="event",
        )
    octets = await request.read()
    collection = collection_of(request)  # again: reading takes as long as the client likes
    outcome = await request.app[SERVICES].fleet.chirpstack.take(
        collection,
        given[-1],
        octets,
        content_type=request.headers.get("Content-Type", ""),
        remote=(request.remote or "", 0),
        cause=request[CAUSE],
    )
    return render({"result": outcome.value})


ROUTES = (web.post("/span/collections/{collection}/chirpstack", create),)
