"""
The WebSocket of The Things Stack's Console: several subscriptions on one connection.

It is internal to the original and undocumented. Each subscription is a subscriber of the hub with an encoding of its
own, as its frames carry its id; the event inside of them is written once for all.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from types import MappingProxyType
from typing import Any, Final

import orjson
from aiohttp import WSCloseCode, web

from span_events import ids
from span_events.clock import Clock
from span_events.config import FanoutConfig, StreamsConfig, ThingsStackConfig
from span_events.dialects.things_stack.errors import (
    ALREADY_EXISTS,
    INVALID_ARGUMENT,
    NO_IDENTIFIERS,
    NOT_FOUND,
    UNAUTHENTICATED_CALL,
    ErrorDetails,
    StatusError,
    UndecodableRequest,
    undecodable,
)
from span_events.dialects.things_stack.json import JsonDialect
from span_events.dialects.things_stack.requests import of_document
from span_events.errors import LimitReached, Unavailable
from span_events.fanout.subscriber import Encoding, Ending, Stream, Subscriber
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.model import Token
from span_events.web.connection import Connection
from span_events.web.services import CAUSE
from span_events.web.streams.admission import Admission, Place
from span_events.web.streams.handshake import accept, offered_protocols
from span_events.web.streams.reading import By, End, Reader
from span_events.web.streams.replies import tune
from span_events.web.things_stack.service import EventsService, looks_like_token, of_refusal
from span_events.wire.websocket import text_frame

log = get_logger("things_stack")

PATH: Final = "/api/v3/console/internal/events/"
PROTOCOL: Final = "ttn.lorawan.v3.console.internal.events.v1"
CARRIER: Final = "ttn.lorawan.v3.header.authorization.bearer."
"""Begin of an offered subprotocol that carries a token, since browsers cannot set headers; without case."""
LONGEST_MESSAGE: Final = 32_768
"""Octets of the longest message of a client."""
MOST_SUBSCRIPTIONS: Final = 100
"""Subscriptions on one connection."""
_MOST_WAITING: Final = 64
"""Messages of a client that wait to be served."""
_NAMESPACE: Final = "pkg/console/internal/events/subscriptions"
_BAD_JSON: Final = "failed to unmarshal JSON"
_CLOSE: Final = MappingProxyType(
    {
        Ending.BEHIND: (WSCloseCode.TRY_AGAIN_LATER, ""),
        Ending.REVOKED: (WSCloseCode.OK, "main task closed"),
        Ending.SHUTDOWN: (WSCloseCode.GOING_AWAY, "the server shuts down"),
    }
)
"""Close code and reason; where the reason is empty, the hub's own."""


class ConsoleEvents:
    """Every such WebSocket of this process."""

    def __init__(
        self,
        config: ThingsStackConfig,
        streams: StreamsConfig,
        fanout: FanoutConfig,
        service: EventsService,
        admission: Admission,
        clock: Clock,
    ) -> None:
        self._config = streams
        self._most = config.console_connections
        self._send_buffer = fanout.send_buffer
        self._backlog = fanout.subscriber_buffer
        self._service = service
        self._admission = admission
        self._clock = clock
        self._dialect = JsonDialect(service.host)
        self._readers: set[Reader] = set()
        self._next_ping = 0.0

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "things_stack_console_connections",
                "WebSockets of The Things Stack's Console; at most things_stack.console_connections.",
                "gauge",
                lambda: len(self._readers),
            )
        ]

    # ---- operations of the server -------------------------------------------------------------

    async def sweep(self, now: float) -> None:
        """Once a second: ping when it is time."""
        if now >= self._next_ping:
            self._next_ping = now + self._config.ping_interval
            for reader in list(self._readers):
                reader.ping(self._config.ping_interval)

    async def close(self) -> None:
        """End all connections, those without a subscription too; return when all are closed."""
        readers = list(self._readers)
        for reader in readers:
            reader.close(*_CLOSE[Ending.SHUTDOWN])
        if readers:
            await asyncio.wait([reader.gone for reader in readers])

    # ---- one connection -----------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """
        Serve a connection.

        Raises:
            RequestError: There is no room for another stream, or the request is no WebSocket handshake.
        """
        self._admission.check(request)
        if len(self._readers) >= self._most:
            raise Unavailable(
                f"There are {self._most} such connections, as many as things_stack.console_connections allows",
                hint="Close pages that nobody reads, or raise things_stack.console_connections.",
            )
        authorization = _authorization_of(request, offered_protocols(request))
        try:
            token = await self._service.authenticate(authorization)
        except StatusError as exc:
            self._service.refused(exc.details, self._admission.client_of(request), request.path)
            return _refusal(request, exc)
        with self._admission.hold(request, token):
            return await self._serve(request, authorization, token)

    async def _serve(self, request: web.Request, authorization: str, token: Token) -> web.StreamResponse:
        response = accept(request, PROTOCOL)
        response.force_close()
        await response.prepare(request)
        transport, protocol = request.transport, request.protocol
        if transport is None or transport.is_closing():
            return response  # the client left during the handshake
        assert isinstance(protocol, Connection)
        tune(transport, send_buffer=self._send_buffer)
        reader = Reader(
            transport,
            self._config,
            self._clock,
            pause=protocol.pause_reading,
            spare=self._send_buffer,
            longest=LONGEST_MESSAGE,
            on_flood=lambda: None,
        )
        remote = self._admission.client_of(request)
        session = _Session(reader, transport, authorization, self._service, self._dialect, self._backlog, remote)
        self._readers.add(reader)
        protocol.become_stream(reader)
        log.info("subscriber_joined", token=ids.render(token.id), path=PATH, remote=remote)
        try:
            await session.run()
        finally:
            self._readers.discard(reader)
            end = reader.end or End(By.NETWORK, WSCloseCode.ABNORMAL_CLOSURE)
            log.info(
                "subscriber_left",
                token=ids.render(token.id),
                code=int(end.code),
                by=end.by.value,
                reason=end.reason,
                delivered=session.delivered,
                dropped=session.dropped,
            )
        transport.close()  # nothing may follow the close frames
        return response


class _Session:
    """
    One connection: its subscriptions, and its messages one at a time.

    Args:
        backlog: Octets that may wait to be sent when a message is served: replies and replays of a client that does
            not read must not pile up.
    """

    def __init__(
        self,
        reader: Reader,
        transport: asyncio.Transport,
        authorization: str,
        service: EventsService,
        dialect: JsonDialect,
        backlog: int,
        remote: str | None,
    ) -> None:
        self._service, self._dialect = service, dialect
        self._transport = transport
        self._authorization = authorization
        self._backlog = backlog
        self._remote = remote
        self._subscribers: dict[int, Subscriber] = {}
        self._places: dict[int, Place] = {}
        """Places of subscriptions to many entities, besides the connection's own."""
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MOST_WAITING)
        self.delivered = self.dropped = 0
        """Events of subscriptions that have ended."""
        self.reader = reader
        self.reader.on_text = self.reader.on_octets = self._enqueue
        self.reader.on_end = self._leave

    async def run(self) -> None:
        """Serve messages until the connection has ended."""
        server = asyncio.create_task(self._serve())
        server.add_done_callback(self._defect)
        try:
            await asyncio.shield(self.reader.gone)
        finally:
            server.cancel()
            self._leave()

    def _defect(self, server: asyncio.Task[None]) -> None:
        """Contain a defect of ours: only this connection ends."""
        if not server.cancelled() and (failure := server.exception()) is not None:
            log.error("console_defect", exc_info=failure)
            self.reader.close(WSCloseCode.INTERNAL_ERROR, "the server failed")

    async def _serve(self) -> None:
        while True:
            message = await self._waiting.get()
            if self._transport.get_write_buffer_size() > self._backlog:
                self.reader.close(WSCloseCode.TRY_AGAIN_LATER, "the client asks for more than it reads")
                return
            try:
                token = await self._service.authenticate(self._authorization)
                await self._take(message, token)
            except StatusError:
                self.reader.close(*_CLOSE[Ending.REVOKED])
            except UndecodableRequest as exc:
                self._service.refused(undecodable(str(exc)), self._remote, PATH)  # the close frame does not say why
                self.reader.close(WSCloseCode.INVALID_TEXT, _BAD_JSON)

    def _enqueue(self, message: bytes) -> None:
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self.reader.close(WSCloseCode.POLICY_VIOLATION, f"over {_MOST_WAITING} messages wait to be served")

    async def _take(self, message: bytes, token: Token) -> None:
        """
        Serve a message.

        Raises:
            UndecodableRequest: It is none that a client may send.
        """
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError as exc:
            raise UndecodableRequest(str(exc)) from None
        number = document.get("id", 0) if isinstance(document, dict) else None
        if type(number) is not int or not 0 <= number < 1 << 64:
            raise UndecodableRequest("id: expect a number")
        kind = document.get("type")
        try:
            if kind == "subscribe":
                await self._subscribe(number, document, token)
            elif kind == "unsubscribe":
                self._unsubscribe(number)
            else:
                raise UndecodableRequest("type: expect subscribe or unsubscribe")
        except StatusError as exc:
            self._service.refused(exc.details, self._remote, PATH)
            status = exc.details.numbered(f"{self._service.number():032x}").as_status()
            self._send({"type": "error", "id": number, "error": status})

    async def _subscribe(self, number: int, document: dict[str, Any], token: Token) -> None:
        if number in self._subscribers:
            raise _error("already_subscribed", "already subscribed with ID `{id}`", ALREADY_EXISTS, number)
        if len(self._subscribers) >= MOST_SUBSCRIPTIONS:
            raise of_refusal(
                Unavailable(
                    f"There are {MOST_SUBSCRIPTIONS} subscriptions on this connection",
                    hint="Unsubscribe, or open another connection.",
                )
            )
        try:
            request = of_document({key: value for key, value in document.items() if key not in ("type", "id")})
        except StatusError as exc:
            if exc.details is NO_IDENTIFIERS:
                raise StatusError(
                    ErrorDetails(_NAMESPACE, exc.details.name, exc.details.message_format, INVALID_ARGUMENT)
                ) from None
            raise
        subscription = await self._service.permit(request, token)
        place = None
        if subscription.weight > 1:
            try:
                place = self._service.admission.hold_token(token, subscription.weight - 1)
            except LimitReached as exc:
                raise of_refusal(exc) from None
        encoding = _encoding_of(number, self._dialect)
        confirmation = text_frame(b'{"type":"subscribe","id":%d}\n' % number)

        def replay() -> Iterable[bytes]:
            return (confirmation, *self._service.past(subscription, encoding))

        try:
            self._subscribers[number] = self._service.hub.subscribe(
                Stream.ACTIVITIES,
                subscription.wish.scopes,
                subscription.wish,
                encoding,
                sink=self._transport,
                token_id=token.id,
                close=self._close,
                replay=replay,
            )
        except BaseException as exc:
            if place is not None:
                place.release()
            if isinstance(exc, Unavailable):
                raise of_refusal(exc) from None
            raise
        if place is not None:
            self._places[number] = place
        log.info("console_subscribed", token=ids.render(token.id), subscriptions=len(self._subscribers))

    def _unsubscribe(self, number: int) -> None:
        if number not in self._subscribers:
            raise _error("not_subscribed", "not subscribed with ID `{id}`", NOT_FOUND, number)
        self._end(number)
        self._send({"type": "unsubscribe", "id": number})

    def _send(self, document: dict[str, Any]) -> None:
        if self.reader.end is None and not self._transport.is_closing():
            self._transport.write(text_frame(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE)))

    def _close(self, ending: Ending, text: str) -> None:
        """End the whole connection, as one of its subscriptions cannot go on."""
        code, reason = _CLOSE[ending]
        self.reader.close(code, reason or text)

    def _leave(self) -> None:
        for number in list(self._subscribers):
            self._end(number)

    def _end(self, number: int) -> None:
        subscriber = self._subscribers.pop(number)
        if (place := self._places.pop(number, None)) is not None:
            place.release()
        self._service.hub.unsubscribe(subscriber)
        self.delivered += subscriber.delivered
        self.dropped += subscriber.dropped


def _encoding_of(number: int, dialect: JsonDialect) -> Encoding:
    return Encoding(dialect, partial(_publish, b'{"type":"publish","id":%d,"event":' % number), True, None, 0.0)


def _publish(head: bytes, line: bytes) -> bytes:
    return text_frame(head + line + b"}\n")


def _error(name: str, message_format: str, code: int, number: int) -> StatusError:
    return StatusError(ErrorDetails(_NAMESPACE, name, message_format, code, {"id": str(number)}))


def _authorization_of(request: web.Request, offered: Iterable[str]) -> str:
    """Return the token that a subprotocol carries if it looks like one, else the header."""
    carried = next((each[len(CARRIER) :] for each in offered if each.lower().startswith(CARRIER)), "")
    return f"Bearer {carried}" if looks_like_token(carried) else request.headers.get("Authorization", "")


def _refusal(request: web.Request, error: StatusError) -> web.Response:
    """Answer a client without a good token; the status is not wrapped, but indented by tabs."""
    cause = None if error.details is UNAUTHENTICATED_CALL else error.details
    details = ErrorDetails(
        UNAUTHENTICATED_CALL.namespace,
        UNAUTHENTICATED_CALL.name,
        UNAUTHENTICATED_CALL.message_format,
        UNAUTHENTICATED_CALL.code,
        cause=cause,
    ).numbered(f"{request[CAUSE]:032x}")
    body = json.dumps(details.as_status(), indent="\t", ensure_ascii=False)
    return web.Response(status=401, text=body, content_type="application/json", headers={"WWW-Authenticate": "Bearer"})
