"""The WebSocket handshake (RFC 6455 §4.2): checks a request, and writes the 101."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final

from aiohttp import HttpVersion11, web

from span_events.errors import InvalidRequest, UpgradeRequired
from span_events.web.connection import Connection

PROTOCOL: Final = "span"
"""The one subprotocol; a client need not offer it."""
CARRIER: Final = "span.token."
"""Begin of an offered subprotocol that carries a token, since browsers cannot set headers."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY: Final = re.compile(r"[A-Za-z0-9+/]{22}==")
_VERSIONS: Final = ("13", "8", "7")
_PROXY: Final = (
    "A proxy between client and server dropped Upgrade and Connection: it must pass both on, with HTTP/1.1"
    " (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade)."
    " `span-events guide proxies` has examples."
)


def offered_protocols(request: web.Request) -> list[str]:
    """Return the subprotocols that a client offers, in its order."""
    lines = request.headers.getall("Sec-WebSocket-Protocol", [])
    return [each.strip() for line in lines for each in line.split(",") if each.strip()]


def offered_token(request: web.Request) -> str:
    """
    Return the token that a browser offers as a subprotocol, or nothing.

    Raises:
        InvalidRequest: No protocol is offered that could be chosen; a browser would refuse the answer.
    """
    offered = offered_protocols(request)
    token = next((each.removeprefix(CARRIER) for each in offered if each.startswith(CARRIER)), "")
    if token and PROTOCOL not in offered:
        raise InvalidRequest(
            f"The subprotocol with the token is offered alone; {PROTOCOL!r} must be offered beside it",
            hint=f'new WebSocket(url, ["{PROTOCOL}", "{CARRIER}" + token])',
        )
    return token


def accept(request: web.Request, protocol: str = PROTOCOL) -> web.StreamResponse:
    """
    Return the 101 that opens the WebSocket.

    Args:
        protocol: The one subprotocol of the URL; the reply has it if the client offers it.

    Raises:
        UpgradeRequired: The request is no WebSocket handshake, or a proxy took a part of it away.
        InvalidRequest: The handshake has a wrong version or key.
    """
    headers = request.headers
    key = headers.get("Sec-WebSocket-Key", "").strip()
    assert isinstance(request.protocol, Connection)
    upgrades = headers.get("Upgrade", "").strip().lower() == "websocket" and request.protocol.upgraded
    if not upgrades or request.version < HttpVersion11:
        if key:
            raise UpgradeRequired("The WebSocket handshake came without Upgrade: websocket", hint=_PROXY)
        raise UpgradeRequired("This URL is a WebSocket")
    if headers.get("Sec-WebSocket-Version", "").strip() not in _VERSIONS:
        raise UpgradeRequired("The WebSocket handshake has a version other than 13 (RFC 6455)")
    if not _KEY.fullmatch(key):
        raise InvalidRequest("Sec-WebSocket-Key is not the base64 of 16 octets (RFC 6455 4.1)")
    response = web.StreamResponse(status=101)
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    response.headers.update(
        {
            "Upgrade": "websocket",
            "Connection": "upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        }
    )
    if protocol in offered_protocols(request):
        response.headers["Sec-WebSocket-Protocol"] = protocol
    return response
