"""
One connection of the HTTP port: time limits for what its client owes, and replies to what is no HTTP.

A client owes the head of a request within ``http.header_timeout``, and moves ``http.min_rate`` octets a second
while it sends a body or receives a reply.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMethod, HttpProcessingError, LineTooLong

from span_events.clock import Clock
from span_events.config import HttpConfig
from span_events.log import get_logger
from span_events.turns import Turns
from span_events.web.problems import octets_of, problem
from span_events.web.services import TOKEN
from span_events.wire.recognition import recognise

log = get_logger("web")

_BEGIN: Final = 128
"""Octets kept of a client's first read, to recognise another protocol."""
_SLICE: Final = 16_384
"""Octets that the parser takes in one wake-up: of tiny requests or chunks, 256 KiB take 50 ms and more."""
_MANY: Final = "Too many headers"
"""Begin of aiohttp's message for more headers than its parser takes (128)."""
_BYTES_MOVED: Final = slice(120, 136)
"""tcpi_bytes_acked and tcpi_bytes_received of Linux' struct tcp_info."""


class Ended(StrEnum):
    """Reasons for which the server ends a connection."""

    HEAD = "head"
    """No complete head within ``http.header_timeout``."""
    BODY = "body"
    """A body slower than ``http.min_rate``."""
    REPLY = "reply"
    """A reply that is read slower than ``http.min_rate``, or not at all."""
    DISPLACED = "displaced"
    """Closed for a newer connection, because there were ``http.connections``."""
    MALFORMED = "malformed"
    """Octets that are no HTTP."""


class Owner(Protocol):
    """Holds all connections."""

    turns: Turns
    """Turns of connections with more input than one wake-up may parse."""

    def opened(self, connection: Connection) -> None:
        """Count a connection."""

    def busy(self, connection: Connection) -> None:
        """Note that a request is complete."""

    def waits(self, connection: Connection) -> None:
        """Note that the connection waits for a request."""

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""

    def ended(self, reason: Ended, remote: str | None, detail: str = "") -> None:
        """Count and log the end of a connection by the server."""


class Connection(web.RequestHandler):
    """
    A connection.

    Args:
        manager: aiohttp's list of connections.
        options: Of aiohttp's connections.
    """

    def __init__(
        self, manager: web.Server, owner: Owner, config: HttpConfig, clock: Clock, options: dict[str, Any]
    ) -> None:
        super().__init__(manager, loop=asyncio.get_running_loop(), **options)
        self._owner = owner
        self._config = config
        self._clock = clock
        self._begin = b""
        self._input = b""  # waits for the connection's turns
        self._request: web.BaseRequest | None = None
        """The latest request."""
        self._answering = False
        """True from the head of a request until its reply is sent."""
        self._replying = False
        """True once the handler has ended."""
        self._heard = True  # a new connection owes a head
        self._since = clock.monotonic()
        self._window: tuple[float, int] | None = None
        """Begin of the current window, and the octets moved until then; None while the client owes nothing."""
        self.streaming = False
        """True once the connection is a stream, which has limits of its own."""

    @property
    def remote(self) -> str | None:
        """Address of the client, without port."""
        return self.peername[0] if isinstance(self.peername, tuple) else None

    @property
    def upgraded(self) -> bool:
        """True if the parser has found a request to upgrade, and leaves all further octets alone."""
        return self._upgraded

    @property
    def owes_body(self) -> bool:
        """True if the client has shown no token, and not yet sent the whole body of its request."""
        request = self._request if self._answering else None
        return request is not None and TOKEN not in request and not request.content.is_eof()

    # ---- called by the event loop and by aiohttp ----------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        super().connection_made(transport)
        self._owner.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End."""
        super().connection_lost(exc)
        self._input = b""
        self._owner.lost(self)

    def data_received(self, data: bytes) -> None:
        """Take octets of the client."""
        if not self._begin:
            self._begin = data[:_BEGIN]
        if not self._heard:
            self._heard = True
            self._since = self._clock.monotonic()
        if not data or (not self._input and len(data) <= _SLICE):  # without data, the parser goes on with its own
            super().data_received(data)
        else:
            self._pause_transport_reading()
            if not self._input:
                self._owner.turns.add(self)
            self._input += data

    def eof_received(self) -> None:
        """Parse at once what waits: over TLS, the connection is lost before its next turn."""
        part, self._input = self._input, b""
        if part:
            super().data_received(part)
        super().eof_received()

    def take_turn(self) -> bool:
        """Parse a part of the input that waits; called by `Turns`."""
        part, self._input = self._input[:_SLICE], self._input[_SLICE:]
        try:
            if part:  # also while aiohttp or a stream has paused reading: no more waits than one read
                super().data_received(part)
        except Exception:
            log.exception("connection_failed")
            self._input = b""
            self.force_close()
            return False
        if not (self._input or self._reading_paused or self._buffer_paused):
            self._resume_transport_reading()
        return bool(self._input)

    def _resume_transport_reading(self) -> None:
        """Read on, once no input waits; aiohttp calls this, too."""
        if not self._input:
            super()._resume_transport_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send what is left of a reply."""
        self._replying = True
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answering = self._replying = self._heard = False
            self._since = self._clock.monotonic()
            self._owner.waits(self)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = HTTPStatus.INTERNAL_SERVER_ERROR,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """
        Answer octets that are no HTTP.

        Raises:
            ConnectionError: The client disconnected, or the failure came after the begin of the reply.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if not isinstance(exc, HttpProcessingError):
            log.error("connection_failed", exc_info=exc)
            raise ConnectionResetError("the handling of the connection failed") from exc
        seen = recognise(self._begin) if isinstance(exc, BadHttpMethod) and self._request is None else None
        looks = "" if seen is None else f"{seen.protocol} ({seen.words})"
        response = _of_malformed(exc, looks)
        self._owner.ended(Ended.MALFORMED, self.remote, f"looks like {looks}" if looks else response.reason or "")
        response.force_close()
        return response

    # ---- called by the server -----------------------------------------------------------------

    def begin(self, request: web.BaseRequest) -> None:
        """Note that the head of a request is complete."""
        self._request = request
        self._answering = True
        self._owner.busy(self)

    def displace(self) -> None:
        """Make room for another connection."""
        self._end(Ended.DISPLACED)

    def become_stream(self, reader: Any) -> None:
        """
        Leave the bound of connections and their time limits: a stream has its own.

        Args:
            reader: Takes all further octets, with the methods ``feed_data`` and ``feed_eof``.
        """
        self.streaming = True
        self._owner.lost(self)
        self.keep_alive(False)
        self.set_parser(reader)

    def check(self, now: float) -> None:
        """End the connection if its client is overdue."""
        transport = self.transport
        if transport is None or self.streaming:
            return
        body_owed = self._request is not None and not self._request.content.is_eof()
        if body_owed or self._replying or transport.get_write_buffer_size():
            self._check_rate(now, transport, Ended.BODY if body_owed else Ended.REPLY)
            return
        self._window = None
        if self._heard and not self._answering and now - self._since >= self._config.header_timeout:
            self._end(Ended.HEAD)

    def _check_rate(self, now: float, transport: asyncio.Transport, reason: Ended) -> None:
        if self._window is None:
            self._window = (now, _moved(transport))
            return
        began, before = self._window
        if now - began < self._config.rate_window:
            return
        moved = _moved(transport)
        if moved - before < self._config.min_rate * (now - began):
            self._end(reason)
        self._window = (now, moved)

    def _end(self, reason: Ended) -> None:
        transport, request = self.transport, self._request
        self._owner.ended(reason, self.remote)
        if transport is None:
            return
        if reason in (Ended.REPLY, Ended.DISPLACED):  # over TLS, an orderly end would wait for the client
            transport.abort()
            return
        if reason is Ended.HEAD or (reason is Ended.BODY and request and not request.writer.output_size):
            transport.write(octets_of(_too_late(reason, self._config)))
        transport.close()
        self.force_close()


def _moved(transport: asyncio.Transport) -> int:
    """Return the octets that the client has sent and acknowledged so far."""
    raw = transport.get_extra_info("socket")
    octets = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_MOVED.stop)[_BYTES_MOVED]
    return int.from_bytes(octets[:8], sys.byteorder) + int.from_bytes(octets[8:], sys.byteorder)


def _too_late(reason: Ended, config: HttpConfig) -> web.Response:
    if reason is Ended.HEAD:
        detail = f"The head of the request took over {config.header_timeout:g} s (http.header_timeout)"
    else:
        detail = f"The body came with less than {config.min_rate:g} octets a second (http.min_rate)"
    return problem(HTTPStatus.REQUEST_TIMEOUT, detail, code="request_timeout", rpc_code=4)


def _of_malformed(exc: HttpProcessingError, looks: str) -> web.Response:
    """
    Name the fault of a head, without the parser's own words for it, which quote Python.

    Args:
        looks: Protocol that the client's first octets look like; empty for none.
    """
    if isinstance(exc, LineTooLong):
        return problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The head of the request has a line of over 8190 octets: the URL with its query, or a header",
            code="head_too_large",
            rpc_code=3,
            hint="Ask for less at once: fewer device= or event= parameters, or a regular expression.",
        )
    if _MANY in exc.message:
        return problem(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            "The head of the request has over 128 headers",
            code="head_too_large",
            rpc_code=3,
            hint="Send fewer headers; a proxy in front may add some.",
        )
    hint = "This port speaks HTTP/1.1."
    detail = "The request is not valid HTTP/1.1"
    if isinstance(exc, BadHttpMethod):
        fault = f"they look like {looks}" if looks else "they do not begin with a method"
        detail = f"The octets are no HTTP request: {fault}"
        hint += " For https://, set http.tls, or put a proxy with TLS in front."
    return problem(HTTPStatus.BAD_REQUEST, detail, code="malformed_http", rpc_code=3, hint=hint)
