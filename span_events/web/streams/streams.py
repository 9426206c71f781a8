"""
Streams of activity events and upstream messages: WebSockets, Server-Sent Events, and lines of JSON.

Invalid requests are refused before the first octet of a stream, with an HTTP status and a problem body. After that, the
hub writes to the transport itself; `reading` takes the frames of a WebSocket's client, `replies` holds the others.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

from aiohttp import WSCloseCode, web

from span_events import ids
from span_events.auth.tokens import Tokens
from span_events.clock import Clock
from span_events.config import EventsConfig, FanoutConfig, HttpConfig, StreamsConfig
from span_events.dialects.chirpstack.event import Facts
from span_events.errors import InvalidRequest, LimitReached, RequestError, Unauthenticated, Unavailable
from span_events.events.history import History
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Ending, Stream, Subscriber
from span_events.fleet.devices.inbox import Inbox
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web.connection import Connection
from span_events.web.streams import changing
from span_events.web.streams.admission import Admission, Place
from span_events.web.streams.credentials import Admitted, Gate
from span_events.web.streams.handshake import accept
from span_events.web.streams.lines import Lines
from span_events.web.streams.messages import MessageDialect
from span_events.web.streams.origins import Origins
from span_events.web.streams.past import Past
from span_events.web.streams.reading import By, End, Reader
from span_events.web.streams.refusals import Refusals
from span_events.web.streams.replies import tune
from span_events.web.streams.request import (
    Form,
    StreamRequest,
    message_request_of,
    stream_request_of,
)
from span_events.wire.websocket import text_frame

log = get_logger("streams")

_CLOSE_CODES: Final = MappingProxyType(
    {
        Ending.BEHIND: WSCloseCode.TRY_AGAIN_LATER,
        Ending.REVOKED: WSCloseCode.POLICY_VIOLATION,
        Ending.SHUTDOWN: WSCloseCode.GOING_AWAY,
    }
)
_PINGS_AT_ONCE: Final = 256


@dataclass(slots=True, eq=False)
class _Connection:
    """A WebSocket and its subscriber in the hub."""

    transport: asyncio.Transport
    reader: Reader
    subscriber: Subscriber | None = None
    replayed: int = 0
    """Number of events of the past that were sent."""

    def count(self, replayed: int) -> None:
        """Note how many events of the past were sent."""
        self.replayed = replayed


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
        inbox: Inbox,
        directory: Directory,
        facts: Facts,
        tokens: Tokens,
        admission: Admission,
        clock: Clock,
    ) -> None:
        self._origins = Origins(http.allowed_origins)
        self._clock = clock
        self._config = streams
        self._events = events
        self._send_buffer = fanout.send_buffer
        self._hub = hub
        self._facts = facts
        self._past = Past(hub, history, inbox, clock)
        self._lines = Lines(
            hub,
            self._past,
            send_buffer=fanout.send_buffer,
            patience=fanout.stalled_after,
            on_end=lambda by: self.ended.update([by]),
        )
        self._admission = admission
        self._gate = Gate(streams, directory, tokens)
        self._message_dialect = MessageDialect(directory)
        self._connections: set[_Connection] = set()
        self._closing = False
        self._next_ping = 0.0
        self.refusals = Refusals(clock)
        """Counts streams that were refused before the upgrade."""
        self.flooded = 0
        """Number of streams that were closed because the client sent too much."""
        self.ended = Counter[str]()
        """Number of ended streams by the one who ended them."""

    # ---- handlers -----------------------------------------------------------------------------

    async def activity(self, request: web.Request) -> web.StreamResponse:
        """Serve activity events of everything, a collection, a device or a gateway."""
        with self._counting_refusals(request):
            admitted = await self._admit(request)
            wish = stream_request_of(request, events=self._events, streams=self._config, facts=self._facts)
        return await self._stream(request, Stream.ACTIVITIES, wish, admitted)

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Serve the upstream messages of a collection or a device."""
        with self._counting_refusals(request):
            admitted = await self._admit(request)
            wish = message_request_of(request, streams=self._config, dialect=self._message_dialect)
        return await self._stream(request, Stream.MESSAGES, wish, admitted)

    # ---- operations of the server--------------------------------------------------------------

    async def sweep(self, now: float) -> None:
        """Once a second: let the hub look after its subscribers, and ping when it is time."""
        self._hub.sweep()
        if now < self._next_ping:
            return
        self._next_ping = now + self._config.ping_interval
        for count, connection in enumerate(list(self._connections), start=1):
            connection.reader.ping(self._config.ping_interval)
            if count % _PINGS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def revoke(self, tokens: Iterable[Token], reason: str = "the token was revoked") -> None:
        """End the streams of tokens that are valid no longer."""
        self._hub.revoke({token.id for token in tokens}, reason)

    async def close(self) -> None:
        """Refuse new streams and end all open ones (1001); return when all are closed."""
        self._closing = True
        waiting = [connection.reader.gone for connection in self._connections]
        self._hub.close()
        for connection in list(self._connections):
            connection.reader.close(WSCloseCode.GOING_AWAY, "the server shuts down")
        if waiting:
            await asyncio.wait(waiting)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            *self._gate.metrics(),
            *self.refusals.metrics(),
            *self._admission.metrics(),
            Metric("streams_ended", "Streams that ended.", "counter", lambda: dict(self.ended), label="by"),
            Metric(
                "streams_flooded",
                "Streams closed (1008) because the client sent over streams.client_frames or client_octets.",
                "counter",
                lambda: self.flooded,
            ),
        ]

    # ---- before the upgrade -------------------------------------------------------------------

    @contextmanager
    def _counting_refusals(self, request: web.Request) -> Iterator[None]:
        """Count what is refused inside."""
        try:
            yield
        except RequestError as exc:
            self.refusals.count(request, exc, self._admission.client_of(request))
            raise

    async def _admit(self, request: web.Request) -> Admitted | None:
        self._origins.check(request.headers.get("Origin"), request.host)
        return await self._gate.admit(request)

    async def _stream(
        self, request: web.Request, stream: Stream, wish: StreamRequest, admitted: Admitted | None
    ) -> web.StreamResponse:
        """Serve a stream in its form, if there is room for it."""
        is_socket = wish.form is Form.WEBSOCKET
        with self._counting_refusals(request):
            self._admission.check(request)
            if admitted is None and not is_socket:
                raise Unauthenticated("There is no token in the request")
            response = accept(request) if is_socket else None
            place = self._admission.hold(request, admitted.token if admitted else None)
        with place:
            if response is not None:
                return await self._serve(request, response, stream, wish, admitted, place)
            assert admitted is not None
            return await self._lines.serve(
                request, stream, admitted.scope, wish, admitted.token, remote=self._admission.client_of(request)
            )

    # ---- the stream ---------------------------------------------------------------------------

    async def _serve(
        self,
        request: web.Request,
        response: web.StreamResponse,
        stream: Stream,
        wish: StreamRequest,
        admitted: Admitted | None,
        place: Place,
    ) -> web.StreamResponse:
        connection = await self._open(request, response, expects_token=admitted is None)
        reader = connection.reader
        try:
            if self._closing:
                reader.close(WSCloseCode.GOING_AWAY, "the server shuts down")
            elif admitted := admitted or await self._admit_later(request, reader, place):
                await self._subscribed(request, connection, stream, wish, admitted)
        finally:
            self._connections.discard(connection)
            if connection.subscriber is not None:
                self._hub.unsubscribe(connection.subscriber)
        await asyncio.shield(reader.gone)
        connection.transport.close()  # nothing may follow the close frames
        return response

    async def _admit_later(self, request: web.Request, reader: Reader, place: Place) -> Admitted | None:
        """Wait for the token; close the stream without one (1008), or without a place for it (1013)."""
        try:
            with self._counting_refusals(request):
                admitted = await self._gate.admit_later(request, reader)
                place.beside = self._admission.hold_token(admitted.token)
                return admitted
        except RequestError as exc:
            busy = isinstance(exc, (Unavailable, LimitReached))
            reader.close(WSCloseCode.TRY_AGAIN_LATER if busy else WSCloseCode.POLICY_VIOLATION, exc.detail)
            return None

    async def _open(self, request: web.Request, response: web.StreamResponse, *, expects_token: bool) -> _Connection:
        """
        Send the 101, and read frames from then on.

        Raises:
            ConnectionError: The client left during the handshake.
        """
        protocol = request.protocol
        assert isinstance(protocol, Connection)
        response.force_close()
        await response.prepare(request)
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client left during the handshake")
        tune(transport, send_buffer=self._send_buffer)
        reader = Reader(
            transport,
            self._config,
            self._clock,
            pause=protocol.pause_reading,
            spare=self._send_buffer,
            on_flood=self._count_flood,
        )
        if expects_token:
            reader.expect_text()
        connection = _Connection(transport, reader)
        self._connections.add(connection)
        protocol.become_stream(reader)
        return connection

    async def _subscribed(
        self,
        request: web.Request,
        connection: _Connection,
        stream: Stream,
        wish: StreamRequest,
        admitted: Admitted,
    ) -> None:
        """Hold a stream until it has ended."""
        reader, token = connection.reader, admitted.token
        await self._hub.caught_up(stream, (admitted.scope,))
        if reader.has_ended:
            return
        try:
            subscriber = connection.subscriber = self._subscribe(connection, stream, wish, admitted)
        except Unavailable as exc:  # others were faster during the handshake
            reader.close(WSCloseCode.TRY_AGAIN_LATER, exc.detail)
            return
        reader.on_end = lambda: self._hub.unsubscribe(subscriber)
        if stream is Stream.ACTIVITIES:
            reader.on_text = partial(self._change_filter, connection, subscriber, wish)
        if not wish.part.follow:
            reader.close(WSCloseCode.OK, "the past is complete")
        remote = self._admission.client_of(request)
        log.info("subscriber_joined", token=ids.render(token.id), path=request.path, remote=remote)
        await asyncio.shield(reader.gone)
        self._hub.unsubscribe(subscriber)
        end = reader.end or End(By.NETWORK, WSCloseCode.ABNORMAL_CLOSURE)
        self.ended[end.by] += 1
        log.info(
            "subscriber_left",
            token=ids.render(token.id),
            code=int(end.code),
            by=end.by.value,
            reason=end.reason,
            delivered=connection.replayed + subscriber.delivered,
            dropped=subscriber.dropped,
        )

    def _change_filter(
        self, connection: _Connection, subscriber: Subscriber, wish: StreamRequest, message: bytes
    ) -> None:
        """Answer a client that sends another filter."""
        try:
            change = changing.filter_of(
                message, span_only=wish.span_only, of_devices=wish.filter.of_devices, without=wish.without
            )
        except InvalidRequest as exc:
            reply = changing.refusal(exc)
        else:
            if change is None:
                return
            self._hub.change(subscriber, change[0])
            reply = changing.answer(change[1])
        if connection.transport.get_write_buffer_size() < self._send_buffer:  # a client that reads
            subscriber.send(text_frame(reply))

    def _count_flood(self) -> None:
        self.flooded += 1

    def _subscribe(
        self, connection: _Connection, stream: Stream, wish: StreamRequest, admitted: Admitted
    ) -> Subscriber:
        def close(ending: Ending, text: str) -> None:
            connection.reader.close(_CLOSE_CODES[ending], text)

        return self._hub.subscribe(
            stream,
            (admitted.scope,),
            wish.filter,
            wish.encoding,
            sink=connection.transport,
            token_id=admitted.token.id,
            close=close,
            replay=lambda: self._past.frames(stream, admitted.scope, wish, connection.count),
        )
