"""How REST handlers answer."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web


def render(document: dict[str, Any], *, status: int = 200) -> web.Response:
    """
    Answer with a JSON object that nobody keeps.

    What was made is answered with 200, as Span does: generated clients read other statuses as untyped.
    """
    return web.Response(
        status=status,
        body=orjson.dumps(document),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
