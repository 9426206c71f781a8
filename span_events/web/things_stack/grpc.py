"""Listener for gRPC clients of events, such as ttn-lw-cli: plaintext by default, TLS by configuration."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import ClassVar, Final

from span_events.accepting import Acceptor, RefusedAccepts
from span_events.clock import Clock
from span_events.config import FanoutConfig, ThingsStackConfig
from span_events.metrics import Metric
from span_events.net import Remote, bind, render_remote
from span_events.web.things_stack.grpc_calls import Calls
from span_events.web.things_stack.grpc_connection import Bounds, GrpcConnection
from span_events.web.things_stack.service import EventsService
from span_events.web.tls import OptionalTls
from span_events.wire.openssl import Identity

_TICK: Final = 1.0
"""Seconds between two checks of deadlines and pings."""
_BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""
_PING_INTERVAL: Final = 60.0
"""Seconds of silence after which a client is pinged, as the original does."""


class GrpcListener:
    """
    The listener.

    Args:
        identities: The server's keys and certificates, for TLS.
        shared: True if other processes of this machine have the same port.
    """

    name: ClassVar[str] = "things_stack"

    def __init__(
        self,
        config: ThingsStackConfig,
        fanout: FanoutConfig,
        service: EventsService,
        *,
        identities: Sequence[Identity],
        clock: Clock,
        refused: RefusedAccepts,
        shared: bool = False,
    ) -> None:
        self._config = config
        self._shared = shared
        self._clock = clock
        self._accepting = Acceptor(self.name, refused, self._accepted)
        self._address: Remote = ("", 0)
        self._connections: dict[GrpcConnection, None] = {}
        self._idle = asyncio.Event()
        self._idle.set()
        self._tls = OptionalTls("h2", "things_stack", identities, enabled=config.grpc_tls, most=config.grpc_connections)
        self._bounds = Bounds(config, _PING_INTERVAL, fanout.send_buffer, Calls(service), service.hub, clock)
        self.displaced = 0
        """Number of connections that were ended or refused because of things_stack.grpc_connections."""

    @property
    def address(self) -> str:
        """Bound address, ``host:port``."""
        return render_remote(self._address)

    def present(self, identities: Sequence[Identity]) -> None:
        """Show new certificates in the handshakes from now on."""
        self._tls.present(identities)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        bounds = self._bounds
        return [
            Metric(
                "things_stack_connections",
                "gRPC connections of clients of events; at most things_stack.grpc_connections.",
                "gauge",
                lambda: len(self._connections),
            ),
            Metric(
                "things_stack_calls",
                "gRPC calls by method.",
                "counter",
                lambda: dict(bounds.served),
                label="method",
            ),
            Metric(
                "things_stack_displaced",
                "gRPC connections that were ended or refused because of things_stack.grpc_connections.",
                "counter",
                lambda: self.displaced + self._tls.displaced,
            ),
            Metric(
                "things_stack_handshakes",
                "TLS handshakes of gRPC connections under way; at most things_stack.grpc_connections.",
                "gauge",
                lambda: len(self._tls.opening),
            ),
            Metric("things_stack_floods", "gRPC connections ended for a flood.", "counter", lambda: bounds.floods),
            Metric(
                "things_stack_defects",
                "gRPC connections ended by a defect of the server.",
                "counter",
                lambda: bounds.defects,
            ),
            self._tls.failures.metric(),
        ]

    async def start(self) -> None:
        """Bind; raises `ListenerUnavailable`."""
        bound = bind(
            self.name,
            self._config.grpc_host,
            self._config.grpc_port,
            socket.SOCK_STREAM,
            setting="things_stack.grpc_port",
            shared=self._shared,
        )
        self._address = bound.getsockname()[:2]
        self._accepting.start(bound, _BACKLOG)

    async def run(self) -> None:
        """Serve until cancelled."""
        while not self._accepting.lost.done():
            await self._clock.sleep(_TICK)
            now = self._clock.monotonic()
            for each in list(self._connections):
                each.tick(now)
        self._accepting.lost.result()

    async def stop(self) -> None:
        """Refuse new connections; the calls under way end with the other streams, see `close`."""
        self._accepting.stop()

    async def close(self) -> None:
        """End all calls, and close the connections as soon as the clients have read that, or after a moment."""
        self._tls.close()
        for each in list(self._connections):
            each.shut_down()
        await self._idle.wait()

    # ---- called by connections ----------------------------------------------------------------

    def opened(self, connection: GrpcConnection) -> None:
        """Count a connection; one too many ends the one that has been silent longest without a call."""
        if len(self._connections) >= self._config.grpc_connections:
            self.displaced += 1
            idle = [each for each in self._connections if not len(each)]
            (min(idle, key=lambda each: each.last_input) if idle else connection).abort()
        self._connections[connection] = None
        self._idle.clear()

    def lost(self, connection: GrpcConnection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._idle.set()

    def _accepted(self, accepted: socket.socket, address: Remote) -> None:
        self._tls.open(accepted, address, lambda: GrpcConnection(self._bounds, self))
