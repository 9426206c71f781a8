"""Replies of the REST handlers."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from span_events.web.paths import flag_of


def is_extended(request: web.Request) -> bool:
    """
    Return whether the client asks for fields of our own beside Span's (``?extended=1``).

    Raises:
        InvalidRequest: The value is neither true nor false.
    """
    return flag_of(request, "extended")


def render(document: dict[str, Any], *, status: int = 200, etag: str = "") -> web.Response:
    """
    Reply with a JSON object that no cache stores.

    Creation is answered with 200, as by Span: generated clients read other statuses as untyped.

    Args:
        etag: Version of the resource, quotes included; empty for none.
    """
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **({"ETag": etag} if etag else {})},
    )
