"""Messages to a device: ``…/devices/{device}/outbox``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.web import documents
from span_events.web.paths import device_of, message_id_of, page_of
from span_events.web.rest.bodies.models import MessageBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.data import INBOX_LIMIT
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import CAUSE, SERVICES


async def list(request: web.Request) -> web.Response:
    """List the messages to a device, newest first: those that wait, and the last that did not."""
    device = device_of(request)
    page = page_of(request, default_limit=INBOX_LIMIT)
    messages = request.app[SERVICES].fleet.outbox.list(
        device, limit=page.limit, before_id=page.before_id, start_ms=page.start_ms, end_ms=page.end_ms
    )
    return render({"messages": [documents.message_downstream(each, device) for each in messages]})


async def create(request: web.Request) -> web.Response:
    """Queue a message for a device."""
    device_of(request)  # a missing resource is refused before the body is read
    body = await read_body(request, MessageBody)
    device = device_of(request)  # again: reading takes as long as the client likes, and devices move
    message = await request.app[SERVICES].fleet.outbox.queue(device, body.payload, cause=request[CAUSE])
    return render(documents.message_downstream(message, device))


async def delete(request: web.Request) -> web.Response:
    """Delete a message; reply with its id, extended with its last state."""
    device = device_of(request)
    message_id = message_id_of(request)
    message = await request.app[SERVICES].fleet.outbox.cancel(device, message_id, cause=request[CAUSE])
    last_state = documents.message_downstream(message, device)
    return render(last_state if is_extended(request) else {"messageId": last_state["messageId"]})


_ALL: Final = "/span/collections/{collection}/devices/{device}/outbox"
ROUTES: Final = (
    web.get(_ALL, list),
    web.post(_ALL, create),
    web.delete(f"{_ALL}/{{message}}", delete),
)
