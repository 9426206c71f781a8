"""Input of one connection: parses its frames in turns, at the expense of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from h2.errors import ErrorCodes

from span_events.bounded.budgets import Budget
from span_events.wire.grpc.connections import GrpcEvent
from span_events.wire.grpc.server import GrpcServer

_PER_TURN: Final = 64
"""Frames or messages processed before other connections have their turn: about 3 ms."""
_BURST_SECONDS: Final = 10.0
"""Seconds over which gateways.frames_per_second is an average."""


class Intake:
    """The input after the TLS handshake."""

    __slots__ = ("_budget", "_events", "_octets", "_per_second", "_server", "is_exceeded")

    def __init__(self, server: GrpcServer, frames_per_second: int) -> None:
        self._server = server
        self._per_second = frames_per_second
        self._budget = Budget(frames_per_second, frames_per_second * _BURST_SECONDS)
        self._octets = b""
        self._events: Sequence[GrpcEvent] = ()
        self.is_exceeded = False
        """True once the budget is exceeded."""

    @property
    def has_more(self) -> bool:
        """True if input waits for the next turn."""
        return bool(self._octets or self._events or self._server.has_unread)

    @property
    def words(self) -> str:
        """The number of frames and the limit, for people."""
        return (
            f"{self._server.cost:,} frames or messages without content;"
            f" gateways.frames_per_second is {self._per_second}, over {_BURST_SECONDS:.0f} s"
        )

    def put(self, octets: bytes) -> None:
        """Append decrypted octets."""
        self._octets = self._octets + octets if self._octets else octets

    def parse(self, now: float) -> Sequence[GrpcEvent]:
        """
        Return the events of the next turn, at most `_PER_TURN`.

        If they cost more than the gateway's budget allows, HTTP/2 is closed, and none is returned.

        Args:
            now: Monotonic seconds.
        """
        events = self._events
        if events:
            self._events = ()
        else:
            server, octets, self._octets = self._server, self._octets, b""
            before = server.cost
            events = server.feed(octets, _PER_TURN)
            if not self._budget.allows(server.cost - before, now):
                self.is_exceeded = True
                server.close(ErrorCodes.ENHANCE_YOUR_CALM)
                return ()
        if len(events) > _PER_TURN:
            events, self._events = events[:_PER_TURN], events[_PER_TURN:]
        return events
