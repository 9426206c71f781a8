"""Origins of web pages that may open a stream and use the API (RFC 6454, Fetch Standard 3.3)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from span_events.errors import AccessDenied

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}
_PORT: Final = re.compile(r":\d+$")
_SHARED: Final = ("/span/", "/collections/", "/activity", "/openapi.json", "/asyncapi.json")
"""Begins of the paths that pages of allowed origins may read; health and metrics are not for them."""
_EXPOSED: Final = "ETag, X-Warning, X-Request-Id, Retry-After"
_PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, X-API-Token, Content-Type, If-Match, Last-Event-ID",
    "Access-Control-Max-Age": "600",
}


class Origins:
    """
    Checks the header Origin, which browsers send and other clients do not.

    Args:
        allowed: Patterns of ``http.allowed_origins``: ``*`` matches any characters, all others match themselves.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = [re.compile(".*".join(map(re.escape, _with_port(each).split("*")))) for each in allowed]

    def check(self, origin: str | None, host: str) -> None:
        """
        Refuse a page of a foreign origin.

        Args:
            host: The header Host: a page of this server may open its streams.

        Raises:
            AccessDenied: The origin is neither this server nor allowed.
        """
        if origin is None:
            return
        own = _with_port(f"{origin.partition('://')[0]}://{host}")
        if _with_port(origin) != own and not self.allows(origin):
            raise AccessDenied(
                f"A page of {origin[:100]} may not open streams of this server",
                hint="Add the origin to http.allowed_origins.",
            )

    def allows(self, origin: str) -> bool:
        """Return whether pages of a foreign origin may read replies (``http.allowed_origins``)."""
        return any(pattern.fullmatch(_with_port(origin)) for pattern in self._allowed)

    def headers(self, origin: str | None, path: str) -> dict[str, str]:
        """
        Return the headers that let a page of an allowed origin read a reply.

        There is no Access-Control-Allow-Credentials: a browser adds no token of its own accord, a page must have it.
        """
        if not path.startswith(_SHARED):
            return {}
        if origin is None or not self.allows(origin):
            return {"Vary": "Origin"}
        return {
            "Vary": "Origin",
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": _EXPOSED,
        }

    def preflight(self, origin: str, path: str) -> dict[str, str] | None:
        """Return the headers of the answer to a browser that asks before a request; None for a foreign page."""
        if not path.startswith(_SHARED) or not self.allows(origin):
            return None
        return self.headers(origin, path) | _PREFLIGHT


def _with_port(origin: str) -> str:
    """Append the default port of the scheme where the origin has none; ``null`` stays as it is."""
    scheme, separator, host = origin.partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    if not separator or port is None or _PORT.search(host) or host.endswith(":*"):
        return origin
    return f"{origin}:{port}"
