"""One gRPC connection of a client of events: HTTP/2 with several calls, flow control, and orderly ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

from h2.errors import ErrorCodes

from span_events.bounded.budgets import Budget
from span_events.clock import Clock
from span_events.config import ThingsStackConfig
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Subscriber
from span_events.log import get_logger
from span_events.web.streams.replies import CLOSE_TIMEOUT, tune
from span_events.web.things_stack.grpc_calls import FIND_RELATED, STREAM, Calls, End, Held
from span_events.wire.grpc.connections import (
    Broken,
    Fault,
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
from span_events.wire.grpc.server import ANSWERS, GrpcServer

log = get_logger("things_stack")

_STREAMS: Final = 100
"""Calls at the same time on one connection."""
_ALL_STREAMS: Final = 1_000
"""Calls in the life of a connection, since h2 stores each of them; then the client is asked to open another one."""
_LATE_STREAMS: Final = 100
"""Calls that may be on their way meanwhile."""
_PER_TURN: Final = 64
"""Frames that are parsed before other tasks run: about 3 ms."""
_FRAMES_PER_SECOND: Final = 100
_BURST: Final = 1_000
"""Frames without content that a client may send at once."""
_MOST_CREDIT: Final = 10_000
"""Answers to frames with data that may still come, at most: after a long replay, they fill many reads."""
_PING_TIMEOUT: Final = 20.0
"""Seconds without an octet after a ping, until the connection counts as lost."""
_FAULTS: Final = {
    Fault.TOO_LARGE: Status.RESOURCE_EXHAUSTED,
    Fault.COMPRESSED: Status.UNIMPLEMENTED,
    Fault.TRUNCATED: Status.INTERNAL,
    Fault.MALFORMED: Status.INTERNAL,
}


@dataclass(slots=True)
class Bounds:
    """What all connections share: their limits, and the counts for the metrics."""

    config: ThingsStackConfig
    ping_interval: float
    send_buffer: int
    calls: Calls
    hub: Hub
    clock: Clock
    floods: int = 0
    """Number of connections that were ended because of their frames."""
    defects: int = 0
    served: dict[str, int] = field(default_factory=lambda: {"stream": 0, "related": 0, "unknown": 0})
    """Number of calls by method."""


class Owner(Protocol):
    """Holds all connections."""

    def opened(self, connection: GrpcConnection) -> None:
        """Count a connection."""

    def lost(self, connection: GrpcConnection) -> None:
        """Forget a connection."""


@dataclass(slots=True)
class _Call:
    """A call that has not ended."""

    path: str
    authorization: str
    deadline: float
    """Monotonic seconds; infinite for a call without one."""
    task: asyncio.Task[None] | None = None
    """Set as soon as the request message has come."""
    subscriber: Subscriber | None = None
    held: Held = field(default_factory=Held)
    ending: End | None = None
    """Set while octets must leave before the trailers."""


class GrpcConnection(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        *("_bounds", "_budget", "_calls", "_count", "_credit", "_has_begun", "_is_over", "_owner", "_paused"),
        *("_pinged_at", "_sent", "_server", "_timer", "_transport", "last_input", "remote"),
    )

    def __init__(self, bounds: Bounds, owner: Owner) -> None:
        self._bounds = bounds
        self._owner = owner
        self._server = GrpcServer(max_message=bounds.config.max_request, max_streams=_STREAMS)
        self._budget = Budget(_FRAMES_PER_SECOND, _BURST)
        self._calls: dict[int, _Call] = {}
        self._count = 0
        self._sent = 0  # frames with data, of which the answers have been allowed for
        self._credit = 0  # answers that have not come yet
        self._has_begun = False  # the first octets were HTTP/2
        self._transport: asyncio.Transport
        self._paused = False  # the kernel's buffer is full
        self._is_over = False
        self._pinged_at: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.remote = ""
        self.last_input = bounds.clock.monotonic()
        """Time of the last octets, monotonic seconds."""

    def __len__(self) -> int:
        """Return the number of open calls."""
        return len(self._calls)

    # ---- calls by asyncio ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin HTTP/2."""
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        tune(self._transport, send_buffer=self._bounds.send_buffer)
        # A pause then means that the kernel's buffer is full; TLS would also pause at 0 of 0 octets.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._owner.opened(self)
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Process received octets, or the first part of many."""
        self.last_input = self._bounds.clock.monotonic()
        self._pinged_at = None
        self._process(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls."""
        if self._timer is not None:
            self._timer.cancel()
        self._is_over = True
        self._drop_calls()
        self._owner.lost(self)

    def pause_writing(self) -> None:
        """Leave further octets to HTTP/2, where each call's are counted."""
        self._paused = True

    def resume_writing(self) -> None:
        """Continue after the kernel has taken all octets."""
        self._paused = False
        self.flush()

    # ---- calls by the listener ----------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Once a second: end calls whose deadline has passed, ping a silent client, drop one that does not answer."""
        for stream, call in list(self._calls.items()):
            if now >= call.deadline:
                self.end(stream, End(Status.DEADLINE_EXCEEDED, "context deadline exceeded"))
        if self._pinged_at is not None:
            if now - self._pinged_at >= _PING_TIMEOUT and self._transport.is_reading():
                log.info("grpc_client_vanished", remote=self.remote)
                self._drop_calls("the client did not answer a ping")
                self._transport.abort()
        elif now - self.last_input >= self._bounds.ping_interval and not self._is_over:
            self._pinged_at = now
            self._server.ping()
            self.flush()

    def shut_down(self) -> None:
        """End all calls with CANCELLED, which the original's client takes for an orderly end, and the connection."""
        for stream, call in list(self._calls.items()):
            if call.ending is None:
                self.end(stream, End(Status.CANCELLED, "the server shuts down"))
        self._close("the server shuts down")

    def abort(self) -> None:
        """Close the socket at once."""
        self._transport.abort()

    # ---- calls by streams ---------------------------------------------------------------------

    def answer(self, stream: int, metadata: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the headers of a reply."""
        self._server.answer(stream, metadata)

    def send(self, stream: int, frames: bytes) -> None:
        """Send framed messages of a call."""
        self._server.send_framed(stream, frames)
        self.flush()

    def waiting(self, stream: int) -> int:
        """Return the unsent octets: queued for the call, plus the connection's write buffer."""
        return self._server.waiting(stream) + self._transport.get_write_buffer_size()

    def end(self, stream: int, end: End) -> None:
        """End a call; later ends of the same call have no effect."""
        call = self._calls.get(stream)
        if call is None:
            return
        if not end.at_once and self._server.waiting(stream):
            call.ending = end
            self.flush()
            return
        self._forget(stream, end.text)
        self._server.end(stream, end.status, end.text, end.details)
        self.flush()

    # ---- input --------------------------------------------------------------------------------

    def _process(self, data: bytes) -> None:
        """Process the frames of one turn, and leave others to the next one."""
        if self._is_over:
            return
        try:
            before = self._server.cost
            events = self._server.feed(data, _PER_TURN)
            for event in events:
                self._take(event)
                if isinstance(event, Broken):
                    self._bounds.calls.broken(self.remote, event.detail, b"" if self._has_begun else data)
            self._has_begun = True
            if not self._allows(self._server.cost - before) and not self._is_over:
                self._bounds.floods += 1
                log.warning("grpc_flood", remote=self.remote)
                self._close("the client floods the connection with frames", ErrorCodes.ENHANCE_YOUR_CALM)
            if self._server.has_unread and not self._is_over:
                self._transport.pause_reading()
                asyncio.get_running_loop().call_soon(self._process, b"")
            elif not self._transport.is_closing():
                self._transport.resume_reading()
            self.flush()
        except Exception:
            self._fail()

    def _allows(self, cost: int) -> bool:
        """Spend the client's answers to what was sent, and the rest from its budget."""
        credit = min(_MOST_CREDIT, self._credit + ANSWERS * (self._server.sent - self._sent))
        self._sent = self._server.sent
        self._credit = max(0, credit - cost)
        return self._budget.allows(max(0, cost - credit), self.last_input)

    def _take(self, event: GrpcEvent) -> None:
        match event:
            case StreamOpened():
                self._open(event)
            case Message(stream, payload):
                self._take_message(stream, payload)
            case HalfClosed(stream):
                call = self._calls.get(stream)
                if call is not None and call.task is None:
                    self.end(stream, End(Status.INTERNAL, "the call ended without a request message"))
            case StreamReset(stream):
                self._forget(stream)
            case MessageFault(stream, fault, detail):
                self.end(stream, End(_FAULTS[fault], detail))
            case NotGrpc():
                self._bounds.served["unknown"] += 1
            case GoneAway():
                self._close()
            case Broken():
                self._close("the client broke HTTP/2")

    def _open(self, event: StreamOpened) -> None:
        timeout = float("inf") if event.timeout is None else event.timeout
        call = _Call(event.path, event.authorization, self._bounds.clock.monotonic() + timeout)
        self._calls[event.stream] = call
        self._count += 1
        if self._count > _ALL_STREAMS + _LATE_STREAMS:
            self._close("the client makes too many calls on one connection")
        elif event.path not in (STREAM, FIND_RELATED):
            self._bounds.served["unknown"] += 1
            self.end(event.stream, End(Status.UNIMPLEMENTED, _unknown(event.path)))
        else:
            self._bounds.served["stream" if event.path == STREAM else "related"] += 1
        if self._count == _ALL_STREAMS:
            self._server.retire()

    def _take_message(self, stream: int, payload: bytes) -> None:
        call = self._calls.get(stream)
        if call is None:
            return
        if call.task is not None:
            self.end(stream, End(Status.INTERNAL, "the call has more than one request message"))
            return
        call.task = asyncio.get_running_loop().create_task(self._serve(stream, call, payload))

    async def _serve(self, stream: int, call: _Call, payload: bytes) -> None:
        try:
            link = _Link(self, stream)
            subscriber = await self._bounds.calls.serve(call.path, call.authorization, payload, link, call.held)
            if self._calls.get(stream) is call:
                call.subscriber = subscriber
                return
            call.held.close()  # the client has left
            if subscriber is not None:
                self._bounds.hub.unsubscribe(subscriber)
        except Exception:
            self._fail()

    # ---- output -------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the client's windows and the kernel take."""
        if self._paused or self._transport.is_closing():
            return
        while octets := self._server.take():
            self._transport.write(octets)
            ready = [
                stream
                for stream, call in self._calls.items()
                if call.ending is not None and not self._server.waiting(stream)
            ]
            for stream in ready:
                ending = self._calls[stream].ending
                assert ending is not None
                self._forget(stream, ending.text)
                self._server.end(stream, ending.status, ending.text, ending.details)
            if not ready or self._paused:
                return

    # ---- ends ---------------------------------------------------------------------------------

    def _forget(self, stream: int, reason: str = "") -> None:
        """
        Release what a call holds.

        Args:
            reason: Why the server ends it; empty if the client does.
        """
        call = self._calls.pop(stream, None)
        if call is None:
            return
        call.held.reason = call.held.reason or reason
        call.held.close()
        if call.subscriber is not None:
            self._bounds.hub.unsubscribe(call.subscriber)
        if call.task is not None and call.task is not asyncio.current_task():
            call.task.cancel()

    def _drop_calls(self, reason: str = "") -> None:
        for stream in list(self._calls):
            self._forget(stream, reason)

    def _close(self, reason: str = "", code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """End the connection with a GOAWAY behind all that waits for the kernel, or after `CLOSE_TIMEOUT`."""
        if self._is_over:
            return
        self._is_over = True
        self._drop_calls(reason)
        self._server.close(code)
        if not self._transport.is_closing():
            if octets := self._server.take():
                self._transport.write(octets)
            self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)
            if code is ErrorCodes.NO_ERROR and self._transport.can_write_eof():
                with suppress(OSError):  # the connection is lost, and `connection_lost` follows
                    self._transport.write_eof()  # closing with unread input would reset the connection
            else:
                self._transport.close()

    def _fail(self) -> None:
        """Contain a defect of ours: only this connection ends."""
        self._bounds.defects += 1
        log.exception("grpc_defect", remote=self.remote)
        self._is_over = True
        self._drop_calls("the server failed")
        self._transport.abort()


class _Link:
    """The stream of a call."""

    __slots__ = ("_connection", "_stream")

    def __init__(self, connection: GrpcConnection, stream: int) -> None:
        self._connection = connection
        self._stream = stream

    @property
    def remote(self) -> str:
        """Address of the client."""
        return self._connection.remote

    def answer(self, metadata: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the headers of the reply."""
        self._connection.answer(self._stream, metadata)

    def write(self, data: bytes) -> None:
        """Send framed messages, or buffer them."""
        self._connection.send(self._stream, data)

    def get_write_buffer_size(self) -> int:
        """Return the octets that wait for the client."""
        return self._connection.waiting(self._stream)

    def end(self, end: End) -> None:
        """Send the trailers."""
        self._connection.end(self._stream, end)


def _unknown(path: str) -> str:
    """Return the words of grpc-go for a method that is not served."""
    _, _, rest = path.partition("/")
    service, _, method = rest.rpartition("/")
    if not service or not method:
        return f'malformed method name: "{path[:100]}"'
    if f"/{service}/" == STREAM[: STREAM.rindex("/") + 1]:
        return f"unknown method {method[:100]} for service {service}"
    return f"unknown service {service[:100]}"
