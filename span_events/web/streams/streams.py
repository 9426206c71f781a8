"""
WebSocket streams of activity events and upstream messages: one JSON object and a newline per frame.

Invalid requests are refused before the upgrade, with an HTTP status and a problem
body. After the upgrade, the hub writes to the transport itself; this module reads pongs and close frames
of the client, and ends streams.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from span_events import ids
from span_events.accepting import RefusedAccepts, is_last
from span_events.auth import access
from span_events.auth.tokens import Tokens
from span_events.config import EventsConfig, FanoutConfig, HttpConfig, StreamsConfig
from span_events.dialects import span
from span_events.errors import AccessDenied, Unavailable, UpgradeRequired
from span_events.events.activity import SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import PASS_ALL, Scope
from span_events.events.history import History
from span_events.events.message import Message
from span_events.events.reasons import DroppedReason
from span_events.fanout.hub import Hub, origin_of
from span_events.fanout.subscriber import Ending, Stream, Subscriber, encoding
from span_events.log import get_logger
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web import documents
from span_events.web.paths import flag_of
from span_events.web.streams.request import StreamRequest, check_parameters, stream_request_of
from span_events.wire.websocket import PING, close_frame, text_frame

log = get_logger("streams")

_CLOSE_TIMEOUT: Final = 2.0
"""Seconds that a client gets to answer our close frame."""
_LARGEST_MESSAGE: Final = 4096
"""Octets that a client may send in one message; nothing is expected but pongs."""
_CLOSE_CODES: Final = MappingProxyType(
    {
        Ending.BEHIND: WSCloseCode.TRY_AGAIN_LATER,
        Ending.REVOKED: WSCloseCode.POLICY_VIOLATION,
        Ending.SHUTDOWN: WSCloseCode.GOING_AWAY,
    }
)
_PINGS_AT_ONCE: Final = 256
_MESSAGE_PARAMETERS: Final = frozenset(["api_token"])


@dataclass(slots=True, eq=False)
class _Connection:
    """A WebSocket and its subscriber in the hub."""

    ws: web.WebSocketResponse
    transport: asyncio.Transport
    subscriber: Subscriber | None = None
    alive: bool = True
    """True if the client sent a frame since the last ping."""
    ended_by_us: int | None = None
    """The close code, if it was the server that ended the stream."""
    gone: asyncio.Future[None] | None = None
    """Set when the handler has ended; created only while a caller waits for the end."""


class _MessageDialect:
    """Writes an upstream message as Span's OutputDataMessage, with its device as it is now."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def encode(self, message: Message) -> bytes:
        """Return one JSON object and a newline."""
        device = self._directory.devices.get(message.origin.device_id or 0)
        return orjson.dumps(documents.output_data_message(message, device), option=orjson.OPT_APPEND_NEWLINE)


class Streams:
    """Every WebSocket of this process."""

    def __init__(
        self,
        *,
        http: HttpConfig,
        streams: StreamsConfig,
        events: EventsConfig,
        fanout: FanoutConfig,
        hub: Hub,
        history: History,
        directory: Directory,
        tokens: Tokens,
        refused: RefusedAccepts,
    ) -> None:
        self._allowed_origins = [_pattern(each) for each in http.allowed_origins]
        self._config = streams
        self._events = events
        self._send_buffer = fanout.send_buffer
        self._hub = hub
        self._history = history
        self._directory = directory
        self._tokens = tokens
        self._refused = refused
        self._message_encoding = encoding(
            _MessageDialect(directory),
            text_frame,
            tells_gaps=False,
            keepalive=span.KEEPALIVE,
            silence=streams.keepalive_from,
        )
        self._connections: set[_Connection] = set()
        self._closers: set[asyncio.Task[None]] = set()
        self._closing = False
        self._next_ping = 0.0

    # ---- handlers -----------------------------------------------------------------------------

    async def activity(self, request: web.Request) -> web.StreamResponse:
        """Serve activity events of everything, a collection, a device or a gateway."""
        scope, token = await self._authorize(request)
        wish = stream_request_of(request, events=self._events, streams=self._config)
        return await self._serve(request, Stream.ACTIVITIES, scope, wish, token)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Serve the upstream messages of a collection or a device."""
        scope, token = await self._authorize(request)
        check_parameters(request, _MESSAGE_PARAMETERS)
        return await self._serve(
            request, Stream.MESSAGES, scope, StreamRequest(PASS_ALL, self._message_encoding), token
        )

    # ---- operations of the server--------------------------------------------------------------

    async def sweep(self, now: float) -> None:
        """Once a second: let the hub look after its subscribers, and ping when it is time."""
        self._hub.sweep()
        if now < self._next_ping:
            return
        self._next_ping = now + self._config.ping_interval
        for count, connection in enumerate(list(self._connections), start=1):
            self._ping(connection)
            if count % _PINGS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def revoke(self, tokens: Iterable[Token]) -> None:
        """End the streams of deleted tokens."""
        self._hub.revoke({token.id for token in tokens})

    async def close(self) -> None:
        """Refuse new streams and end all open ones (1001); return when all are closed."""
        self._closing = True
        self._hub.close()
        while self._closers:
            await asyncio.wait(self._closers)

    # ---- before the upgrade -------------------------------------------------------------------

    async def _authorize(self, request: web.Request) -> tuple[Scope, Token]:
        """Check the token and find the scope that the URL names."""
        self._check_origin(request)
        credentials = access.credentials(request.headers, request.query)
        path = request.match_info
        if "collection" not in path:
            token = await access.authenticate(self._tokens, credentials)
            return access.scope_of(token), token
        scope = Scope(
            collection_id=ids.parse(path["collection"], what="collection"),
            device_id=ids.parse(path["device"], what="device") if "device" in path else None,
            gateway_id=ids.parse(path["gateway"], what="gateway") if "gateway" in path else None,
        )
        resource = access.resource_of(scope.collection_id, device_id=scope.device_id, gateway_id=scope.gateway_id)
        token = await access.authorize(self._tokens, credentials, resource=resource, write=False)
        self._check_existence(scope)
        whole = scope.device_id is None and scope.gateway_id is None
        if whole and token.resource == "/" and flag_of(request, "unattributed"):
            scope = replace(scope, unattributed=True)
        return scope, token

    def _check_origin(self, request: web.Request) -> None:
        """Pages of foreign origins may not open streams (browsers send Origin, other clients do not)."""
        origin = request.headers.get("Origin")
        if origin is None or origin.partition("://")[2] == request.host:
            return
        if not any(pattern.fullmatch(origin) for pattern in self._allowed_origins):
            raise AccessDenied(
                f"A page of {origin[:100]} may not open streams of this server",
                hint="Add the origin to http.allowed_origins.",
            )

    def _check_existence(self, scope: Scope) -> None:
        assert scope.collection_id is not None
        self._directory.collection(scope.collection_id)
        if scope.device_id is not None:
            self._directory.device(scope.collection_id, scope.device_id)
        if scope.gateway_id is not None:
            self._directory.gateway(scope.collection_id, scope.gateway_id)

    def _check_descriptor(self, request: web.Request) -> None:
        """Leave the last descriptors to short requests."""
        connection = None if request.transport is None else request.transport.get_extra_info("socket")
        if connection is not None and is_last(connection.fileno()):
            self._refused.few_left("http")
            raise Unavailable(
                "The server has no descriptors left for another stream",
                hint="Close streams that nobody reads, or raise the server's limit of open files.",
            )

    # ---- the stream ---------------------------------------------------------------------------

    async def _serve(
        self, request: web.Request, stream: Stream, scope: Scope, wish: StreamRequest, token: Token
    ) -> web.WebSocketResponse:
        if self._closing:
            raise Unavailable("The server is shutting down", hint="Connect again in a moment.")
        self._hub.check_room()
        self._check_descriptor(request)
        ws = web.WebSocketResponse(
            autoping=False, autoclose=False, compress=False, timeout=_CLOSE_TIMEOUT, max_msg_size=_LARGEST_MESSAGE
        )
        if not ws.can_prepare(request).ok:
            raise UpgradeRequired("This URL is a WebSocket")
        await ws.prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing():
            return ws  # the client left during the handshake
        if self._closing:
            await ws.close(code=WSCloseCode.GOING_AWAY, message=b"the server shuts down")
            return ws
        self._tune(transport)
        connection = _Connection(ws, transport)
        try:
            connection.subscriber = self._subscribe(connection, stream, scope, wish, token)
        except Unavailable as exc:  # others were faster during the handshake
            await ws.close(code=WSCloseCode.TRY_AGAIN_LATER, message=exc.detail.encode()[:120])
            return ws
        self._connections.add(connection)
        log.info("subscriber_joined", token=ids.render(token.id), path=request.path, remote=request.remote)
        try:
            await self._read_until_close(connection)
        finally:
            self._connections.discard(connection)
            self._hub.unsubscribe(connection.subscriber)
            if connection.gone is not None:
                connection.gone.set_result(None)
            log.info(
                "subscriber_left",
                token=ids.render(token.id),
                code=connection.ended_by_us or int(ws.close_code or WSCloseCode.ABNORMAL_CLOSURE),
                dropped=connection.subscriber.dropped,
            )
        return ws

    def _tune(self, transport: asyncio.Transport) -> None:
        """Bound the memory that a stalled reader can pin: in the kernel here, in the process by the hub."""
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        transport.set_write_buffer_limits(high=1 << 30)  # the hub keeps the limit; aiohttp must not pause

    def _subscribe(
        self, connection: _Connection, stream: Stream, scope: Scope, wish: StreamRequest, token: Token
    ) -> Subscriber:
        def close(ending: Ending, text: str) -> None:
            self._close_soon(connection, _CLOSE_CODES[ending], text)

        return self._hub.subscribe(
            stream,
            (scope,),
            wish.filter,
            wish.encoding,
            sink=connection.transport,
            token_id=token.id,
            close=close,
            replay=lambda: self._replay(scope, wish),
        )

    def _replay(self, scope: Scope, wish: StreamRequest) -> Iterator[bytes]:
        """Give the frames of the past, then the mark where the present begins."""
        if wish.tail is not None or wish.after is not None:
            if wish.after is None:
                past = self._history.tail(scope, wish.filter, wish.tail or 0)
            else:
                past = self._history.after(scope, wish.filter, wish.after)
            if past.lost_through is not None and wish.encoding.tells_gaps:
                yield wish.encoding.encode(self._hub.stamp(_history_gap(scope, past.lost_through)))
            for activity in past.activities:
                yield wish.encoding.encode(activity)
        if wish.marks_live:
            yield wish.encoding.frame(span.LIVE)

    async def _read_until_close(self, connection: _Connection) -> None:
        ws, transport = connection.ws, connection.transport
        while True:
            message = await ws.receive()
            connection.alive = True
            if message.type is WSMsgType.PING:
                # a client that pings but does not read must not make our buffer grow
                if not ws.closed and transport.get_write_buffer_size() < self._send_buffer:
                    await ws.pong(message.data)
            elif message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                if connection.ended_by_us:
                    transport.close()  # this answers our close frame: nothing may follow it
                return

    def _ping(self, connection: _Connection) -> None:
        if connection.transport.is_closing():
            return  # the connection is lost; uvloop would refuse to write
        if connection.transport.get_write_buffer_size():
            return  # it is being written to; the hub watches whether it reads
        if connection.alive:
            connection.alive = False
            connection.transport.write(PING)
        else:
            log.info("subscriber_vanished", silent=self._config.ping_interval)
            connection.transport.abort()

    def _close_soon(self, connection: _Connection, code: int, reason: str) -> None:
        connection.ended_by_us = int(code)
        connection.gone = asyncio.get_running_loop().create_future()
        task = asyncio.get_running_loop().create_task(_close(connection, code, reason))
        self._closers.add(task)
        task.add_done_callback(self._closers.discard)


async def _close(connection: _Connection, code: int, reason: str) -> None:
    """Send a close frame behind all that waits, give the client a little time to answer it, and let go."""
    assert connection.gone is not None
    if not connection.transport.is_closing():
        connection.transport.write(close_frame(code, reason))
    done, _ = await asyncio.wait([connection.gone], timeout=_CLOSE_TIMEOUT)
    if not done:
        connection.transport.abort()


def _history_gap(scope: Scope, lost_through: int) -> EventsDropped:
    return EventsDropped(
        origin=origin_of((scope,)),
        reason=DroppedReason.HISTORY_EXCEEDED,
        last_id=SpanId(lost_through),
    )


def _pattern(origin: str) -> re.Pattern[str]:
    """Compile an allowed origin: ``*`` matches any characters, all others (``[::1]``) match themselves."""
    return re.compile(".*".join(map(re.escape, origin.split("*"))))
