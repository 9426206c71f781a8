"""Output of one connection: messages and frames, as fast as the gateway and its kernel take them."""

from __future__ import annotations

from typing import Final

from span_events.listeners.gateways.outgoing import Outgoing
from span_events.listeners.tls import TlsTransport
from span_events.wire.grpc.server import GrpcServer

_UNSENT: Final = 262_144
"""Octets in the transport's buffer beyond which reading stops, since requests cause further answers."""


class Output:
    """The output of a connection, from its first octet on."""

    __slots__ = ("_outgoing", "_transport", "paused_at", "server")

    def __init__(self, transport: TlsTransport, outgoing: Outgoing) -> None:
        self._transport = transport
        self._outgoing = outgoing
        self.server: GrpcServer | None = None
        """HTTP/2, after the TLS handshake."""
        self.paused_at: float | None = None
        """Time at which the kernel's buffer became full, monotonic seconds; None while it has room."""

    @property
    def oldest(self) -> float | None:
        """Time since which output has waited for the gateway to read, monotonic seconds."""
        times = [each for each in (self._outgoing.oldest, self.paused_at) if each is not None]
        return min(times, default=None)

    @property
    def is_congested(self) -> bool:
        """True while too much waits in the transport."""
        return self.paused_at is not None and self._transport.unsent > _UNSENT

    def write(self) -> None:
        """Send the frames of HTTP/2, or those of the handshake."""
        self._transport.send(b"" if self.server is None else self.server.take())

    def push(self, stream: int) -> int:
        """Send as many messages as one write, the gateway's window and the kernel take; return how many have left."""
        server = self.server
        assert server is not None, "messages come after the handshake"
        if self.paused_at is None:
            self._outgoing.give(server, stream)
        self.write()
        if self.paused_at is not None or server.waiting(stream):
            return 0  # continues when the kernel or the gateway has room
        return self._outgoing.confirm()

    def close(self) -> None:
        """Close HTTP/2, TLS and TCP in order."""
        if self.server is not None:
            self.server.close()
            self.write()
        self._transport.close()
