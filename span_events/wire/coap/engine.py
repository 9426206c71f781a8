"""
The message layer of a CoAP server (RFC 7252 §4, §5.2): message ids, acknowledgements and retransmissions.

`reply` writes a response that is ready at once. A response that takes longer is announced with `delay` and sent with
`respond`: piggybacked on the ACK if it is ready within `ACK_DELAY`; else the client gets an empty ACK, and the response
follows in a confirmable message of its own, which is repeated until the client acknowledges or resets it.

The engine has no socket and no clock: `now` is an argument, in monotonic seconds. Its owner sends what `datagrams`
returns, after each call and at the `deadline`.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from enum import Enum, auto
from heapq import heappop, heappush
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from aiocoap.numbers import TransportTuning

from span_events.wire.coap.messages import HEADER, CoapMessage, Code, Options, Type, write

ACK_DELAY: Final = 1.0
"""Seconds until a request without a response gets an empty ACK: its client repeats the request after 2 s."""
MAX_DELAYED: Final = 4096
"""Upper bound of requests and separate responses that are open; beyond it, the oldest is given up."""
_ACK_TIMEOUT: Final[float] = TransportTuning.ACK_TIMEOUT
_ACK_RANDOM_FACTOR: Final[float] = TransportTuning.ACK_RANDOM_FACTOR
_MAX_RETRANSMIT: Final[int] = TransportTuning.MAX_RETRANSMIT
_EMPTY_HEAD: Final = 1 << 6
"""Version 1, no token."""


class Peer(Protocol):
    """Sender of a request; ``address`` is the CoAP endpoint, to which message ids and tokens belong."""

    @property
    def address(self) -> Hashable:
        """Socket address or DTLS session."""


P = TypeVar("P", bound=Peer)


class Stage(Enum):
    """Progress of a request whose response takes time."""

    UNACKNOWLEDGED = auto()
    """The client has got nothing; an empty ACK is due after `ACK_DELAY`."""
    ACKNOWLEDGED = auto()
    """The client waits for the response. A NON begins here."""
    QUEUED = auto()
    """The response waits until the client has acknowledged an earlier one (NSTART, RFC 7252 §4.7)."""
    SENT = auto()
    """The response was sent, and is repeated until the client acknowledges it."""
    CLOSED = auto()
    """The request is answered or given up."""


_MOVES: Final = {
    Stage.UNACKNOWLEDGED: frozenset({Stage.ACKNOWLEDGED, Stage.CLOSED}),
    Stage.ACKNOWLEDGED: frozenset({Stage.QUEUED, Stage.CLOSED}),
    Stage.QUEUED: frozenset({Stage.SENT, Stage.CLOSED}),
    Stage.SENT: frozenset({Stage.CLOSED}),
    Stage.CLOSED: frozenset[Stage](),
}


class Delayed(Generic[P]):
    """A request whose response takes time, then that response until the client has acknowledged it."""

    __slots__ = ("attempts", "due", "message_id", "octets", "peer", "request", "stage", "timeout")

    def __init__(self, peer: P, request: CoapMessage) -> None:
        self.peer = peer
        self.request = request
        self.stage = Stage.UNACKNOWLEDGED if request.type is Type.CON else Stage.ACKNOWLEDGED
        self.due = 0.0
        """Time of the next transmission."""
        self.message_id = 0
        """Message id of the separate response."""
        self.octets = b""
        """The separate response."""
        self.attempts = 0
        """Transmissions of the separate response."""
        self.timeout = 0.0
        """Seconds until the next retransmission."""

    def move(self, stage: Stage) -> None:
        """Change the stage."""
        assert stage in _MOVES[self.stage], f"no move from {self.stage} to {stage}"
        self.stage = stage


class Outgoing(NamedTuple, Generic[P]):
    """A datagram to send; ``is_ack`` is true for an empty ACK, the reply that a copy of the request gets."""

    peer: P
    octets: bytes
    is_ack: bool


class MessageLayer(Generic[P]):
    """
    Message layer of one CoAP endpoint.

    Args:
        limit: Upper bound of delayed requests and unacknowledged responses.
        spread: Returns a number between two bounds; it draws the first message id and the timeouts.
    """

    def __init__(self, *, limit: int = MAX_DELAYED, spread: Callable[[float, float], float] = random.uniform) -> None:
        self._limit = limit
        self._spread = spread
        self._message_id = int(spread(0, 0xFFFF))
        self._open: OrderedDict[Delayed[P], None] = OrderedDict()
        self._requests: dict[Hashable, dict[bytes, Delayed[P]]] = {}  # by address and token, until they are answered
        self._responses: dict[Hashable, deque[Delayed[P]]] = {}  # by address; the first is SENT, the others QUEUED
        self._timers: list[tuple[float, int, Delayed[P]]] = []  # a heap; outdated entries are skipped
        self._timer_number = 0

    def __len__(self) -> int:
        """Return the number of delayed requests and unacknowledged responses."""
        return len(self._open)

    def reply(self, request: CoapMessage, code: int, payload: bytes, options: Options = ()) -> bytes:
        """Write a response that is ready at once: piggybacked on the ACK of a CON, else a NON."""
        if request.type is Type.CON:
            return write(Type.ACK, code, request.message_id, request.token, options, payload)
        return write(Type.NON, code, self._next_message_id(), request.token, options, payload)

    def renew(self, peer: P, token: bytes) -> None:
        """Give up the delayed request of a client that uses its token for a new request (RFC 7252 §5.3.1)."""
        if self._requests:
            delayed = self._requests.get(peer.address, {}).get(token)
            if delayed is not None:
                self._close(delayed)

    def delay(self, peer: P, request: CoapMessage, now: float) -> Delayed[P]:
        """Note that the response to a request takes time."""
        self.renew(peer, request.token)
        if len(self._open) >= self._limit:
            self._end(next(iter(self._open)), now)
        delayed = Delayed(peer, request)
        self._open[delayed] = None
        self._requests.setdefault(peer.address, {})[request.token] = delayed
        if delayed.stage is Stage.UNACKNOWLEDGED:
            self._arm(delayed, now + ACK_DELAY)
        return delayed

    def respond(self, delayed: Delayed[P], code: int, payload: bytes, options: Options, now: float) -> bytes | None:
        """
        Answer a delayed request.

        Returns:
            The response if it is to be sent at once and once only. None if the request was given up, and for a
            separate response: `datagrams` has it as soon as the client has acknowledged the earlier ones.
        """
        request = delayed.request
        match delayed.stage:
            case Stage.UNACKNOWLEDGED:
                self._close(delayed)
                return self.reply(request, code, payload, options)
            case Stage.ACKNOWLEDGED if request.type is not Type.CON:
                self._close(delayed)
                return self.reply(request, code, payload, options)
            case Stage.ACKNOWLEDGED:
                self._forget_request(delayed)
                delayed.move(Stage.QUEUED)
                delayed.message_id = self._next_message_id()
                delayed.octets = write(Type.CON, code, delayed.message_id, request.token, options, payload)
                queue = self._responses.setdefault(delayed.peer.address, deque())
                queue.append(delayed)
                self._send_next(delayed.peer.address, now)
                return None
            case _:
                return None

    def withhold(self, delayed: Delayed[P]) -> bytes | None:
        """Close a delayed request whose client wants no response; return the empty ACK that is still due."""
        stage, request = delayed.stage, delayed.request
        if stage is Stage.UNACKNOWLEDGED or stage is Stage.ACKNOWLEDGED:
            self._close(delayed)
        return empty(Type.ACK, request.message_id) if stage is Stage.UNACKNOWLEDGED else None

    def settle(self, address: Hashable, message_id: int, now: float) -> bool:
        """Take an ACK or a RST; return whether it belongs to a response that was sent."""
        queue = self._responses.get(address)
        if queue is None or queue[0].message_id != message_id:
            return False
        self._end(queue[0], now)
        return True

    def forget(self, address: Hashable) -> None:
        """Give up all requests and responses of an address."""
        for delayed in (*self._requests.get(address, {}).values(), *self._responses.get(address, ())):
            self._close(delayed)

    def deadline(self) -> float | None:
        """Return the time at which `datagrams` has the next datagram; None if there is nothing to wait for."""
        timers = self._timers
        while timers and not _is_current(timers[0]):
            heappop(timers)
        return timers[0][0] if timers else None

    def datagrams(self, now: float) -> list[Outgoing[P]]:
        """Take the datagrams that are due: empty ACKs, separate responses and their retransmissions."""
        due: list[Outgoing[P]] = []
        while (deadline := self.deadline()) is not None and deadline <= now:
            delayed = heappop(self._timers)[2]
            if delayed.stage is Stage.UNACKNOWLEDGED:
                delayed.move(Stage.ACKNOWLEDGED)
                due.append(Outgoing(delayed.peer, empty(Type.ACK, delayed.request.message_id), is_ack=True))
            elif delayed.attempts <= _MAX_RETRANSMIT:
                delayed.attempts += 1
                self._arm(delayed, now + delayed.timeout)
                delayed.timeout *= 2
                due.append(Outgoing(delayed.peer, delayed.octets, is_ack=False))
            else:
                self.forget(delayed.peer.address)
        return due

    def _next_message_id(self) -> int:
        message_id = self._message_id
        self._message_id = message_id + 1 & 0xFFFF
        return message_id

    def _end(self, delayed: Delayed[P], now: float) -> None:
        """Close a request or response; the next response to its address is due."""
        self._close(delayed)
        self._send_next(delayed.peer.address, now)

    def _send_next(self, address: Hashable, now: float) -> None:
        """Make the first response to an address due, unless it was sent already."""
        queue = self._responses.get(address)
        if queue is not None and queue[0].stage is Stage.QUEUED:
            queue[0].move(Stage.SENT)
            queue[0].timeout = self._spread(_ACK_TIMEOUT, _ACK_TIMEOUT * _ACK_RANDOM_FACTOR)
            self._arm(queue[0], now)

    def _arm(self, delayed: Delayed[P], due: float) -> None:
        delayed.due = due
        self._timer_number += 1
        heappush(self._timers, (due, self._timer_number, delayed))

    def _close(self, delayed: Delayed[P]) -> None:
        """Remove a request or a response."""
        self._forget_request(delayed)
        queue = self._responses.get(delayed.peer.address)
        if queue is not None and delayed.stage in (Stage.QUEUED, Stage.SENT):
            queue.remove(delayed)
            if not queue:
                del self._responses[delayed.peer.address]
        delayed.move(Stage.CLOSED)
        del self._open[delayed]

    def _forget_request(self, delayed: Delayed[P]) -> None:
        address, token = delayed.peer.address, delayed.request.token
        tokens = self._requests.get(address)
        if tokens is not None and tokens.get(token) is delayed:
            del tokens[token]
            if not tokens:
                del self._requests[address]


def empty(kind: Type, message_id: int) -> bytes:
    """Write an empty message: an ACK without a response, or a RST (RFC 7252 §4.1)."""
    return HEADER.pack(_EMPTY_HEAD | kind << 4, Code.EMPTY, message_id)


def _is_current(timer: tuple[float, int, Delayed[P]]) -> bool:
    """Return whether a timer still stands for the next transmission."""
    due, _, delayed = timer
    return delayed.due == due and delayed.stage in (Stage.UNACKNOWLEDGED, Stage.SENT)
