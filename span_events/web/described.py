"""Documents of the API for programs: ``/openapi.json`` and ``/asyncapi.json``; no token is needed."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from span_events.web.openapi import asyncapi, document


async def openapi(_request: web.Request) -> web.Response:
    """Send the OpenAPI document."""
    return _reply(await asyncio.to_thread(document.render))


async def streams(_request: web.Request) -> web.Response:
    """Send the AsyncAPI document."""
    return _reply(await asyncio.to_thread(asyncapi.render))


def _reply(octets: bytes) -> web.Response:
    return web.Response(body=octets, content_type="application/json", headers={"Cache-Control": "no-cache"})


ROUTES: Final = (web.get("/openapi.json", openapi), web.get("/asyncapi.json", streams))
