"""gRPC's server side and a client on h2, joined in memory."""

from __future__ import annotations

from collections.abc import Sequence

from span_events.wire.grpc.connections import (
    GrpcEvent,
)
from span_events.wire.grpc.server import GrpcServer
from tests.wire.grpc.client import GrpcClient

MAX = 1_000_000


class Pair:
    """A client, a server, and the server's events."""

    def __init__(self, *, reads: bool = True, max_message: int = MAX) -> None:
        self.client = GrpcClient(reads=reads)
        self.server = GrpcServer(max_message=max_message, max_streams=2)
        self.events: list[GrpcEvent] = []
        self.carry(self.client.take())

    def carry(self, octets: bytes) -> Sequence[GrpcEvent]:
        """Carry octets to the server and answers back until both are idle; return the events of the first octets."""
        first = list(self.server.feed(octets))
        self.events += first
        octets = self.client.step(self.server.take())
        while octets:
            self.events += self.server.feed(octets)
            octets = self.client.step(self.server.take())
        return first

    def settle(self) -> None:
        """Carry the server's output to the client."""
        self.carry(self.client.step(self.server.take()))


def opened(*, reads: bool = True, max_message: int = MAX) -> Pair:
    pair = Pair(reads=reads, max_message=max_message)
    pair.carry(pair.client.open())
    pair.server.answer(1)
    pair.settle()
    pair.events.clear()
    return pair
