"""
Connection of one gateway: TLS, then HTTP/2, then its control stream, then an orderly close.

Every kind of end has a reason of its own. The first sign of the end counts: later errors, such as a reset
after a rejection, are consequences of that end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from google.protobuf.message import DecodeError

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.gateways.session import Departure
from span_events.fleet.gateways.sessions import GatewaySession
from span_events.listeners.gateways.admission import Admission
from span_events.listeners.gateways.client import ALLOWANCE, UnidentifiedClient
from span_events.listeners.gateways.intake import Intake
from span_events.listeners.gateways.keepalive import Due, Keepalive
from span_events.listeners.gateways.outgoing import Outgoing
from span_events.listeners.gateways.output import Output
from span_events.listeners.gateways.reasons import (
    BAD_MESSAGES,
    BROKEN,
    end_of,
    loss_of,
    parting_of,
    refusal_of,
    refused_handshake,
)
from span_events.listeners.gateways.shared import ACTIVE, MOVES, Shared, Stage
from span_events.listeners.tls import TlsTransport
from span_events.listeners.udp import unmapped
from span_events.log import get_logger
from span_events.net import Remote
from span_events.proto.gateway_pb2 import ControlStreamRequest, ControlStreamResponse
from span_events.registry.model import Gateway
from span_events.wire.grpc.connections import (
    Broken,
    GoneAway,
    GrpcEvent,
    HalfClosed,
    Message,
    MessageFault,
    NotGrpc,
    Status,
    StreamOpened,
    StreamReset,
)
from span_events.wire.grpc.server import GrpcServer
from span_events.wire.tls.connections import Closed, Data, Established, Event

log = get_logger("listeners")

PATH: Final = "/gateway.v1.UserGatewayService/ControlStream"
"""The only served method."""
_STREAMS: Final = 2
"""Calls at the same time: one more than is served, so that the second call gets an answer."""
_ALL_STREAMS: Final = 100
"""Calls in the life of a connection: h2 stores each of them."""


class GatewayConnection:
    """One connection; the fleet uses it as the `Link` to a gateway."""

    __slots__ = (
        *("_admission", "_calls", "_client", "_closed", "_grpc", "_intake", "_is_scheduled", "_is_waiting"),
        *("_keepalive", "_outgoing", "_output", "_session", "_shared", "_stream", "_transport"),
        *("due", "remote", "stage"),
    )

    def __init__(self, shared: Shared, admission: Admission[GatewayConnection]) -> None:
        config = shared.config
        self._shared = shared
        self._admission = admission
        self.stage = Stage.TLS
        self.remote: Remote = ("", 0)
        self._transport: TlsTransport
        self._output: Output
        self._client: UnidentifiedClient | None = None
        self._closed: Closed | None = None  # the end of TLS, after data that waits for a turn
        self._grpc: GrpcServer | None = None
        self._intake: Intake | None = None
        self._is_waiting = False  # for a turn, with input that was received but not processed
        self._outgoing = Outgoing(messages=config.queue_messages, octets=config.queue_octets)
        self._session: GatewaySession | None = None
        self._stream = 0
        self._calls = 0
        self._keepalive = Keepalive(config, shared.clock.monotonic())
        self._is_scheduled = False
        self.due = self._keepalive.last_input + config.handshake_timeout
        """Time of the next `tick` with work to do, monotonic seconds."""

    @property
    def queued(self) -> int:
        """Octets that wait until the gateway reads."""
        return self._outgoing.octets

    @property
    def waiting(self) -> int:
        """Number of messages that have not left yet."""
        return len(self._outgoing)

    # ---- calls by the fleet (`Link`) ----------------------------------------------------------

    def send(self, message: ControlStreamResponse, *, key: int | None = None, departure: Departure = None) -> bool:
        """
        Queue a message; False if the queue is full, or the stream over.

        Args:
            key: A waiting message with the same key is replaced together with its departure.
            departure: Returned by `take_departed` after the kernel has taken the message's last octet.
        """
        now = self._shared.clock.monotonic()
        if self.stage is not Stage.OPEN or not self._outgoing.put(message.SerializeToString(), key, departure, now):
            return False
        self.due = min(self.due, now + self._shared.config.stalled_after)
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._contain, self._flush)
        return True

    def take_departed(self) -> Sequence[Departure]:
        """Return the departures of the messages that have left since the last call, in order."""
        return self._outgoing.take_departed()

    def withdraw(self, key: int) -> bool:
        """Remove the message with a key from the queue; False if the message was already given to HTTP/2."""
        return self._outgoing.withdraw(key)

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """End the stream with a gRPC status; has no effect when the stream is over."""
        if self.stage is Stage.OPEN and self._grpc is not None:
            self._grpc.end(self._stream, *end_of(reason, detail))
            self._end_session(reason, detail)
            self._linger()

    # ---- calls by the transport (`TlsUser`) ---------------------------------------------------

    def connected(self, transport: TlsTransport) -> None:
        """Accept the connection, or reject it for a limit."""
        self._transport = transport
        self._output = Output(transport, self._outgoing)
        self.remote = unmapped(*(transport.peer or self.remote))
        self._shared.counters.accepted += 1
        self._client = UnidentifiedClient(self._shared, self.remote)
        obstacle = self._admission.admit(self)
        if obstacle is not None:
            self._reject(GatewayRejectedReason.OVERLOAD, obstacle)
            self._drop()

    def received(self, events: Sequence[Event], count: int) -> None:
        """Process received octets, or the first part of many."""
        self._shared.counters.octets += count
        self._keepalive.last_input = self._shared.clock.monotonic()
        self._keepalive.pinged_at = None
        self._is_scheduled = True  # messages sent meanwhile leave in the flush below
        for event in events:
            if isinstance(event, Data):
                assert self._intake is not None, "data comes after the handshake"
                self._intake.put(event.payload)
                if self._client is not None:
                    self._client.has_spoken = True
            elif isinstance(event, Closed):
                self._closed = event  # after the data before it
            elif isinstance(event, Established):
                self._secure(event)
            else:
                self._reject(*refused_handshake(event, self._transport.begin, self._shared.ports))
                self._linger()
        goes_on = self._process()
        if self.stage is Stage.HTTP2 and self._client is not None and not self._client.may_send(count):
            self._part(GatewayReason.HTTP2_ERROR, f"more than {ALLOWANCE} octets before the control stream")
        self._flush()
        # uvloop would read a full buffer again, up to 32 times, before it serves other sockets.
        if (goes_on or count == self._transport.fills) and not self._transport.is_closing:
            self._is_waiting = True
            self._transport.pause_reading()
            self._shared.turns.add(self)

    def ended(self) -> bool:
        """End the connection: the gateway closed TCP without a TLS close_notify."""
        self._lose(None)
        return False

    def lost(self, error: Exception | None) -> None:
        """End the connection after the loss of its socket."""
        self._contain(self._lose, error)
        if self.stage is not Stage.CLOSED:
            self._move(Stage.CLOSED)
        self._admission.lost(self)

    def blocked(self) -> None:
        """Note that the kernel's buffer is full."""
        self._output.paused_at = now = self._shared.clock.monotonic()
        self.due = min(self.due, now + self._shared.config.stalled_after)

    def writable(self) -> None:
        """Continue after the kernel has taken all octets."""
        self._output.paused_at = None
        if self.stage in (Stage.HTTP2, Stage.OPEN):
            self._read_again()
            self._keepalive.last_input = self._shared.clock.monotonic()  # no input was read until now
            self._contain(self._flush)

    def failed(self) -> None:
        """Contain a defect of ours: only this connection ends."""
        counters = self._shared.counters
        if counters.defects % 1000 == 0:
            log.exception("gateway_defect", remote=self.remote[0], so_far=counters.defects)
        counters.defects += 1
        if self.stage is not Stage.CLOSED:
            self._drop()
        self._end_session(GatewayReason.SERVER_ERROR, "")

    # ---- turns --------------------------------------------------------------------------------

    def take_turn(self) -> bool:
        """Process a bounded part of the received input; return True if more waits."""
        try:
            goes_on = self._process()
            self._flush()
        except Exception:
            self.failed()
            goes_on = False
        if not goes_on:
            self._is_waiting = False
            self._read_again()
        return goes_on

    def _process(self) -> bool:
        """Process the frames of one turn; return True if more wait."""
        server, intake, client = self._grpc, self._intake, self._client
        if server is None or intake is None or (client is not None and client.is_held):
            return False
        if intake.has_more and self.stage in ACTIVE:
            for event in intake.parse(self._keepalive.last_input):
                self._take_grpc(server, event)
            if intake.is_exceeded and self.stage in ACTIVE:
                self._shared.counters.floods += 1
                self._part(GatewayReason.TOO_MANY_FRAMES, intake.words)
        if self.stage in ACTIVE and self._closed is not None and not intake.has_more:
            self._take_close(self._closed)
        return self.stage in ACTIVE and intake.has_more

    def _resume(self) -> None:
        """Process the input that came while the registry was asked about the client."""
        if not self._is_waiting and not self._transport.is_closing:
            self._is_waiting = True
            self._transport.pause_reading()
            self._shared.turns.add(self)

    def _read_again(self) -> None:
        """Continue reading, unless input waits for a turn, or output for the gateway."""
        if not self._is_waiting and not self._transport.is_closing and not self._output.is_congested:
            self._transport.resume_reading()

    # ---- calls by the listener ----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Act on deadlines that have passed."""
        if now >= self.due:
            self._contain(self._tick, now)

    def shut_down(self) -> None:
        """End the connection because the server shuts down."""
        if self.stage is Stage.OPEN:
            self.end(GatewayReason.SHUTDOWN)
        elif self.stage in (Stage.TLS, Stage.HTTP2):
            self._linger()

    def abort(self) -> None:
        """Close the socket at once."""
        self._transport.abort()

    # ---- TLS ----------------------------------------------------------------------------------

    def _take_close(self, event: Closed) -> None:
        """Take the end of TLS."""
        if event.refuses_us and self._client is not None:
            self._reject(GatewayRejectedReason.SERVER_CERTIFICATE_REFUSED, event.detail)
            self._linger()
        else:
            self._part(*parting_of(event))

    def _secure(self, event: Established) -> None:
        """Enter HTTP/2; a wrong certificate is reported to the client later, on its control stream."""
        config, client = self._shared.config, self._client
        assert client is not None, "until the stream is open"
        self._shared.counters.secured += 1
        client.secure(event, self._resume)
        self._grpc = GrpcServer(max_message=config.max_message, max_streams=_STREAMS)
        self._output.server = self._grpc
        self._intake = Intake(self._grpc, config.frames_per_second)
        self._move(Stage.HTTP2)
        self.due = self._keepalive.last_input + config.stream_timeout
        if not event.protocol and event.certificate is not None:  # without one, it may be a check of the port
            self._reject(*(client.refusal or (GatewayRejectedReason.NO_PROTOCOL, "")))
            self._linger()

    # ---- HTTP/2 -------------------------------------------------------------------------------

    def _take_grpc(self, server: GrpcServer, event: GrpcEvent) -> None:
        if self.stage in (Stage.CLOSING, Stage.CLOSED):
            return
        if isinstance(event, Message):
            if event.stream == self._stream:
                self._take_message(event.payload)
        elif isinstance(event, StreamOpened):
            self._take_call(server, event)
        elif isinstance(event, NotGrpc):
            self._count_call(f"{event.path[:64]}: {event.detail}")
        elif isinstance(event, GoneAway | Broken):
            self._part(*parting_of(event))
        elif event.stream == self._stream:
            self._take_end(event)

    def _take_message(self, payload: bytes) -> None:
        self._shared.counters.up += 1
        try:
            message = ControlStreamRequest.FromString(payload)
        except DecodeError:
            self.end(GatewayReason.MALFORMED, f"{len(payload)} octets are not a ControlStreamRequest")
            return
        assert self._session is not None, "an open stream has a session"
        self._shared.sessions.received(self._session, message)

    def _take_end(self, event: HalfClosed | StreamReset | MessageFault) -> None:
        """End the control stream after an event that ends or breaks it."""
        if isinstance(event, HalfClosed):
            self._flush()  # tools for single calls half-close with the request, then wait for answers
            self.end(GatewayReason.CLOSED)
        elif isinstance(event, MessageFault):
            self.end(BAD_MESSAGES[event.fault], event.detail)
        else:
            self._part(*parting_of(event))

    def _take_call(self, server: GrpcServer, call: StreamOpened) -> None:
        if call.path == PATH and self.stage is Stage.HTTP2:
            self._identify(server, call)
        elif self.stage is Stage.OPEN:
            server.end(call.stream, Status.RESOURCE_EXHAUSTED, "one control stream per connection: open another one")
            self._count_call("")
        else:
            server.end(call.stream, Status.UNIMPLEMENTED, f"unknown method {call.path}")
            self._count_call(call.path)

    def _count_call(self, path: str) -> None:
        """Count a call of a method that is not served, and end the connection after too many."""
        if self._client is not None:
            self._client.call(path)
        self._calls += 1
        if self._calls > _ALL_STREAMS:
            self._part(GatewayReason.HTTP2_ERROR, f"more than {_ALL_STREAMS} calls on one connection")

    def _identify(self, server: GrpcServer, call: StreamOpened) -> None:
        """Open the control stream of an identified gateway, or reject the client with a gRPC status."""
        assert self._client is not None, "until the stream is open"
        found = self._client.identify()
        if isinstance(found, tuple):
            server.end(call.stream, *refusal_of(*found))
            self._reject(*found)
            self._linger()
        else:
            self._open(server, call, found, self._client)

    def _open(self, server: GrpcServer, call: StreamOpened, gateway: Gateway, client: UnidentifiedClient) -> None:
        self._move(Stage.OPEN)
        self._client = None  # identified
        self._stream = call.stream
        self._keepalive.limit(call.timeout)
        self.due = self._keepalive.deadline(self._keepalive.last_input, oldest=self._output.oldest)
        self._shared.counters.opened += 1
        self._admission.opened(self)
        server.answer(call.stream)
        self._session = self._shared.sessions.opened(
            gateway,
            remote=self.remote,
            certificate_serial=client.serial,
            link=self,
            tls_version=client.version,
            user_agent=call.user_agent,
        )

    # ---- output -------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Send what the gateway and the kernel take, joined into few writes."""
        self._is_scheduled = False
        while self.stage is Stage.OPEN:
            departed = self._output.push(self._stream)
            self._shared.counters.down += departed
            if not departed or self._session is None:
                break
            self._shared.sessions.flushed(self._session)
        if self.stage in (Stage.TLS, Stage.HTTP2):
            self._output.write()
        if self._output.is_congested:
            self._transport.pause_reading()

    # ---- time ---------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        if self.stage is Stage.OPEN:
            self._look(now)
            if self.stage is Stage.OPEN:
                self.due = self._keepalive.deadline(now, oldest=self._output.oldest)
        elif self._client is not None and self.stage is Stage.TLS:
            self._reject(GatewayRejectedReason.TLS_TIMEOUT, "")
            self._linger()
        elif self._client is not None and self.stage is Stage.HTTP2:
            self._reject(*self._client.idle(""))
            self._linger()
        else:
            self._transport.abort()

    def _look(self, now: float) -> None:
        """Apply the keepalive and the deadlines of an open stream."""
        oldest, keepalive = self._output.oldest, self._keepalive
        due = keepalive.check(now, oldest=oldest, is_reading=self._transport.is_reading)
        if due is Due.DEADLINE:
            self.end(GatewayReason.DEADLINE)
        elif due is Due.STALLED and oldest is not None:
            self.end(GatewayReason.SLOW_READER, f"something has waited for {now - oldest:.0f} s")
        elif due is Due.PING and self._grpc is not None:
            self._shared.counters.pings += 1
            self._grpc.ping()
            self._flush()
        elif due is Due.SILENT:
            silence = int(now - keepalive.last_input)
            self._end_session(GatewayReason.KEEPALIVE_TIMEOUT, f"nothing came for {silence} s", seconds=silence)
            self._drop()  # a silent gateway reads no goodbye

    # ---- ends ---------------------------------------------------------------------------------

    def _contain(self, act: Callable[..., None], *arguments: object) -> None:
        """Act, and contain a defect of ours."""
        try:
            act(*arguments)
        except Exception:
            self.failed()

    def _move(self, stage: Stage) -> None:
        assert stage in MOVES[self.stage], f"no way from {self.stage} to {stage}"
        self.stage = stage

    def _lose(self, error: Exception | None) -> None:
        """Publish the loss of TCP, unless the connection has already ended."""
        reason, detail = loss_of(error)
        if self.stage is Stage.OPEN:
            self._end_session(reason, detail)
        elif self.stage is Stage.TLS and self._client is not None:
            begin, has_answered = self._transport.begin, self._transport.has_answered
            self._reject(*self._client.aborted(detail, begin=begin, has_answered=has_answered))
        elif self.stage is Stage.HTTP2 and self._client is not None:
            self._reject(*self._client.idle(detail))
        else:
            return
        self._drop()

    def _part(self, reason: GatewayReason, detail: str) -> None:
        """End a connection that the client has ended or broken."""
        if self._client is None:
            self._end_session(reason, detail)
        elif reason.is_orderly:
            self._reject(*self._client.idle(detail))
        else:
            cause = BROKEN.get(reason, GatewayRejectedReason.HTTP2_ERROR)
            self._reject(*(self._client.refusal or (cause, detail)))
        self._linger()

    def _reject(self, reason: GatewayRejectedReason, detail: str) -> None:
        assert self._client is not None, "only an unidentified client is rejected"
        if self._transport.begin:  # a connection without an octet cost nothing
            self._admission.rejected(self)
        self._client.reject(reason, detail, self.stage)

    def _end_session(self, reason: GatewayReason, detail: str, *, seconds: int | None = None) -> None:
        """Report the end of the session to the fleet, once."""
        session, self._session = self._session, None
        if session is not None:
            self._shared.sessions.ended(session, reason, detail=detail, seconds=seconds)
        self._outgoing.clear()

    def _linger(self) -> None:
        """Close every layer in order, and give the gateway time to read that: unread input would cause a reset."""
        self._move(Stage.CLOSING)
        self._output.close()
        self.due = self._shared.clock.monotonic() + self._shared.config.linger

    def _drop(self) -> None:
        self._move(Stage.CLOSED)
        self._transport.abort()
