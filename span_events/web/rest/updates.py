"""Firmware state of a device: ``…/devices/{device}/fwerror``, ``fotalog`` and ``fotastate``."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from span_events.dialects.span import render_id
from span_events.web import documents
from span_events.web.paths import device_of
from span_events.web.rest.replies import is_extended, render
from span_events.web.services import CAUSE, SERVICES


async def clear_error(request: web.Request) -> web.Response:
    """Forget that an update has failed; the reply is the state then."""
    device = device_of(request)
    await request.app[SERVICES].fleet.firmware.clear_error(device, cause=request[CAUSE])
    return render({"result": device.firmware.state})


async def history(request: web.Request) -> web.Response:
    """Show the reports of a device: only the last one is stored."""
    device = device_of(request)
    log = [documents.image_version_entry(device)] if device.firmware.reported_ms else []
    return render({"collectionId": render_id(device.collection.id), "log": log})


async def state(request: web.Request) -> web.Response:
    """Show how far a device's update is."""
    return render({"state": {"state": [documents.image_state(device_of(request), extended=is_extended(request))]}})


_DEVICE: Final = "/span/collections/{collection}/devices/{device}"
ROUTES: Final = (
    web.delete(f"{_DEVICE}/fwerror", clear_error),
    web.patch(f"{_DEVICE}/fotalog", history),  # Span reads these two with PATCH
    web.patch(f"{_DEVICE}/fotastate", state),
)
