"""
Who may open a stream, and which scope the URL names.

A token comes with the handshake: as a header, as a subprotocol (browsers), in the query if it is read-only. Span's own
clients that are logged in send none: their first message is ``{"jwt": …}`` (a token of ours), and may name a device or
gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import orjson
from aiohttp import web

from span_events import ids
from span_events.auth import access
from span_events.auth.access import Credentials
from span_events.auth.tokens import Tokens
from span_events.config import StreamsConfig
from span_events.errors import InvalidRequest, Unauthenticated, Unavailable
from span_events.events.filters import Scope
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web.paths import flag_of
from span_events.web.streams.handshake import offered_token
from span_events.web.streams.reading import Reader

_SOURCES: Final = ("X-API-Token", "Authorization")


@dataclass(frozen=True, slots=True)
class Admitted:
    """A token, and what of its reach the stream shows."""

    token: Token
    scope: Scope


class Gate:
    """Admits clients to streams."""

    def __init__(self, config: StreamsConfig, directory: Directory, tokens: Tokens) -> None:
        self._config = config
        self._directory = directory
        self._tokens = tokens
        self._waiting = 0

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "streams_without_token",
                "Open streams whose client has not yet sent its token; at most streams.without_token.",
                "gauge",
                lambda: self._waiting,
            )
        ]

    async def admit(self, request: web.Request) -> Admitted | None:
        """
        Check the token of a handshake; None if it is to come as the first message.

        Raises:
            Unauthenticated: There is no token, or it is unknown.
            AccessDenied: The token does not reach the scope.
            NotFound: The scope names nothing that exists.
            Unavailable: Too many clients without a token wait already.
        """
        scope = scope_of(request)
        offered = offered_token(request)
        if scope is not None and not offered and _sends_it_later(request):
            self._check_room()
            return None
        given = Credentials(offered, in_query=False) if offered else access.credentials(request.headers, request.query)
        if scope is None:
            token = await access.authenticate(self._tokens, given)
            return Admitted(token, access.scope_of(token))
        admitted = await self._authorize(scope, given)
        whole = scope.device_id is None and scope.gateway_id is None
        if whole and admitted.token.resource == "/" and flag_of(request, "unattributed"):
            return replace(admitted, scope=replace(scope, unattributed=True))
        return admitted

    async def admit_later(self, request: web.Request, reader: Reader) -> Admitted:
        """
        Wait for the token of an open stream.

        Raises:
            Unauthenticated: No token came in time, or the token is unknown.
            InvalidRequest: The first message is not the expected object, or names something other than the URL.
            AccessDenied: The token does not reach the scope.
            NotFound: The scope names nothing that exists.
            Unavailable: Others were faster during the handshake.
        """
        scope = scope_of(request)
        assert scope is not None
        self._check_room()
        with self._counted():
            text = await reader.first_text(self._config.token_timeout)
        if text is None:
            raise Unauthenticated(f"no token came within {self._config.token_timeout:g} s")
        document = _object(text)
        named = str(document.get("collectionId") or "")
        if named and ids.parse(named, what="collection") != scope.collection_id:
            raise InvalidRequest("collectionId is not that of the URL")
        scope = _narrowed(scope, document)
        return await self._authorize(scope, Credentials(str(document.get("jwt") or ""), in_query=False))

    def _check_room(self) -> None:
        if self._waiting >= self._config.without_token:
            raise Unavailable(
                f"{self._waiting} clients without a token wait already, as many as streams.without_token allows",
                hint="Send the token with the handshake: as the header X-API-Token.",
            )

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _authorize(self, scope: Scope, given: Credentials) -> Admitted:
        resource = access.resource_of(scope.collection_id, device_id=scope.device_id, gateway_id=scope.gateway_id)
        token = await access.authorize(self._tokens, given, resource=resource, write=False)
        assert scope.collection_id is not None
        self._directory.collection(scope.collection_id)
        if scope.device_id is not None:
            self._directory.device(scope.collection_id, scope.device_id)
        if scope.gateway_id is not None:
            self._directory.gateway(scope.collection_id, scope.gateway_id)
        return Admitted(token, scope)


def scope_of(request: web.Request) -> Scope | None:
    """
    Return the scope that the URL names; None for everything that the token reaches.

    Raises:
        InvalidRequest: A part of the path is not an id.
    """
    path = request.match_info
    if "collection" not in path:
        return None
    return Scope(
        collection_id=ids.parse(path["collection"], what="collection"),
        device_id=ids.parse(path["device"], what="device") if "device" in path else None,
        gateway_id=ids.parse(path["gateway"], what="gateway") if "gateway" in path else None,
    )


def _sends_it_later(request: web.Request) -> bool:
    """Return True for a WebSocket handshake without credentials, unless a browser sent it: that has other ways."""
    headers = request.headers
    given = "api_token" in request.query or any(name in headers for name in (*_SOURCES, "Origin"))
    return not given and headers.get("Upgrade", "").strip().lower() == "websocket"


def _object(text: bytes) -> dict[str, object]:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise InvalidRequest('the first message is not {"jwt": …}')
    return document


def _narrowed(scope: Scope, document: dict[str, object]) -> Scope:
    """Apply the device or gateway that the first message names; the URL's own stays."""
    device, gateway = (str(document.get(name) or "") for name in ("deviceId", "gatewayId"))
    if scope.device_id is not None or scope.gateway_id is not None:
        return scope
    if device:
        return replace(scope, device_id=ids.parse(device, what="device"))
    return replace(scope, gateway_id=ids.parse(gateway, what="gateway")) if gateway else scope
