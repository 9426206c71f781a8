"""Messages from devices, out of the inbox in memory: ``…/data`` and ``…/inbox``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.events.message import Message
from span_events.registry.model import Collection, Device
from span_events.web import documents
from span_events.web.paths import collection_of, device_of, page_of
from span_events.web.rest.replies import render
from span_events.web.services import SERVICES

DATA_LIMIT: Final = 512
"""Default number of messages in ``/data`` (Span's default)."""
INBOX_LIMIT: Final = 250
"""Default number of messages in ``/inbox`` (Span's default)."""


async def list_of_collection(request: web.Request) -> web.Response:
    """List the messages of a collection, newest first."""
    messages = await _messages(request, collection_of(request), None, default_limit=DATA_LIMIT)
    return render({"data": _outputs(request, messages)})


async def list_of_device(request: web.Request) -> web.Response:
    """List the messages of a device in the form of outputs, newest first."""
    device = device_of(request)
    messages = await _messages(request, device.collection, device, default_limit=DATA_LIMIT)
    return render({"data": _outputs(request, messages)})


async def inbox(request: web.Request) -> web.Response:
    """List the messages of a device, newest first."""
    device = device_of(request)
    messages = await _messages(request, device.collection, device, default_limit=INBOX_LIMIT)
    return render({"messages": [documents.message_upstream(each) for each in messages]})


async def _messages(
    request: web.Request, collection: Collection, device: Device | None, *, default_limit: int
) -> list[Message]:
    page = page_of(request, default_limit=default_limit)
    return await request.app[SERVICES].fleet.live.messages(
        collection,
        device_id=None if device is None else device.id,
        limit=page.limit,
        before_id=page.before_id,
        start_ms=page.start_ms,
        end_ms=page.end_ms,
    )


def _outputs(request: web.Request, messages: list[Message]) -> list[documents.Document]:
    devices = request.app[SERVICES].fleet.directory.devices
    return [documents.output_data_message(each, devices.get(each.origin.device_id or 0)) for each in messages]


_COLLECTION: Final = "/span/collections/{collection}"
ROUTES: Final = (
    web.get(f"{_COLLECTION}/data", list_of_collection),
    web.get(f"{_COLLECTION}/devices/{{device}}/data", list_of_device),
    web.get(f"{_COLLECTION}/devices/{{device}}/inbox", inbox),
)
