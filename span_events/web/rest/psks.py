"""The pre-shared key of a device: ``…/devices/{device}/psk``. It can be written, and never read."""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from aiohttp import web

from span_events.dialects.span import render_id
from span_events.web.paths import device_of
from span_events.web.rest.bodies.models import PskBody
from span_events.web.rest.bodies.reading import read_body
from span_events.web.rest.replies import render
from span_events.web.rest.rights import check_ownership
from span_events.web.services import CAUSE, SERVICES


async def put(request: web.Request) -> web.Response:
    """Set the key of a device, or replace it."""
    device = device_of(request)
    check_ownership(request, "the pre-shared key")
    psk = (await read_body(request, PskBody)).psk()
    await request.app[SERVICES].fleet.psks.put(device, psk, cause=request[CAUSE])
    return render({"deviceId": render_id(device.id), "identity": b64encode(psk.identity).decode()})


async def delete(request: web.Request) -> web.Response:
    """Take a device's key away."""
    device = device_of(request)
    check_ownership(request, "the pre-shared key")
    await request.app[SERVICES].fleet.psks.remove(device, cause=request[CAUSE])
    return render({"deviceId": render_id(device.id)})


_ONE: Final = "/span/collections/{collection}/devices/{device}/psk"
ROUTES: Final = (web.put(_ONE, put), web.delete(_ONE, delete))
