"""
Listener for gateways: control streams of gRPC over TLS with client certificates.

Each connection is a `GatewayConnection`. No gRPC library is used, because none reports the reason for which
a gateway was rejected or lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import ClassVar, Final

from span_events.accepting import Acceptor, RefusedAccepts
from span_events.clock import Clock
from span_events.config import GatewaysConfig
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.fleet.identity import Identification
from span_events.listeners.gateways.admission import Admission
from span_events.listeners.gateways.connection import GatewayConnection
from span_events.listeners.gateways.shared import Counters, Shared, Stage
from span_events.listeners.ports import Ports
from span_events.listeners.tls import BLOCK, TlsTransport
from span_events.metrics import HistogramMetric, Measure, Metric
from span_events.net import Remote, bind, render_remote
from span_events.turns import Turns
from span_events.wire.tls.openssl import TlsEngine

_TICK: Final = 0.25
"""Seconds between two checks of deadlines; timeouts and pings are late by that at most."""
_BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""


class GatewayListener:
    """
    The listener for gateways.

    Args:
        refused: Counts connections for which no descriptor is left.
        ports: Ports of the other protocols, for clients that speak one.
    """

    name: ClassVar[str] = "gateways"

    def __init__(
        self,
        config: GatewaysConfig,
        *,
        sessions: GatewaySessions,
        engine: TlsEngine,
        identification: Identification,
        clock: Clock,
        refused: RefusedAccepts,
        ports: Ports | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._engine = engine
        self._buffer = memoryview(bytearray(BLOCK))
        self._accepting = Acceptor(self.name, refused, self._accepted)
        self._opening = set[asyncio.Task[object]]()
        self._address = ("", 0)
        self._admission = Admission[GatewayConnection](config, clock)
        self._connections = self._admission.connections
        self.counters = Counters()
        self._shared = Shared(
            config=config,
            sessions=sessions,
            identification=identification,
            clock=clock,
            counters=self.counters,
            turns=Turns(),
            ports=ports or Ports(),
        )

    @property
    def address(self) -> str:
        """Bound address, ``host:port``."""
        return render_remote(self._address)

    @property
    def defects(self) -> int:
        """Number of connections ended by a defect of ours."""
        return self.counters.defects

    def metrics(self) -> list[Measure]:
        """List the metrics; each limit of the configuration has its gauge."""
        counters = self.counters

        def by_stage() -> dict[str, float]:
            stages = Counter(each.stage for each in self._connections)
            return {stage.name.lower(): stages[stage] for stage in Stage if stage is not Stage.CLOSED}

        return [
            Metric(
                "gateways_connections",
                "Connections of gateways; at most gateways.connections, gateways.half_open of them in tls and http2.",
                "gauge",
                by_stage,
                label="stage",
            ),
            Metric(
                "gateways_handshakes",
                "Connections by progress: accepted TCP, completed TLS, opened stream, or rejected.",
                "counter",
                lambda: {
                    "accepted": counters.accepted,
                    "secured": counters.secured,
                    "opened": counters.opened,
                    "rejected": counters.rejected,
                },
                label="step",
            ),
            Metric(
                "gateways_messages",
                "Messages on control streams, from gateways (up) and to them (down).",
                "counter",
                lambda: {"up": counters.up, "down": counters.down},
                label="direction",
            ),
            Metric("gateways_received_bytes", "Bytes of TLS from gateways.", "counter", lambda: counters.octets),
            HistogramMetric(
                "gateways_tls_handshake_duration_seconds",
                "Time from an accepted connection to the end of its TLS handshake.",
                lambda: counters.durations,
            ),
            Metric(
                "gateways_queued_bytes",
                "Bytes of memory queued until gateways read; at most gateways.queue_octets each.",
                "gauge",
                lambda: sum(each.queued for each in self._connections),
            ),
            Metric(
                "gateways_floods",
                "Connections ended because of gateways.frames_per_second.",
                "counter",
                lambda: counters.floods,
            ),
            Metric(
                "gateways_pings",
                "Pings sent to silent gateways.",
                "counter",
                lambda: counters.pings,
            ),
            Metric(
                "gateways_defects", "Connections ended by a defect of the server.", "counter", lambda: counters.defects
            ),
        ]

    async def start(self) -> None:
        """Bind; raises `ListenerUnavailable`."""
        config = self._config
        bound = bind(self.name, config.host, config.port, socket.SOCK_STREAM)
        # Accepted sockets inherit both options.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, config.send_buffer)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(config.tcp_timeout * 1000))
        self._address = bound.getsockname()[:2]
        self._accepting.start(bound, _BACKLOG)

    async def run(self) -> None:
        """Serve until cancelled."""
        while not self._accepting.lost.done():
            await self._clock.sleep(_TICK)
            now = self._clock.monotonic()
            for each in [each for each in self._connections if each.due <= now]:
                each.tick(now)
        self._accepting.lost.result()

    async def stop(self) -> None:
        """End all streams with a status, give the gateways a moment to read it, and release the socket; idempotent."""
        self._accepting.stop()
        if self._opening:
            await asyncio.wait(self._opening)
        for each in list(self._connections):
            each.shut_down()
        try:
            async with asyncio.timeout(self._config.linger):
                await self._admission.is_idle.wait()
        except TimeoutError:
            for each in list(self._connections):
                each.abort()
            await self._admission.is_idle.wait()

    def _accepted(self, accepted: socket.socket, _address: Remote) -> None:
        loop = asyncio.get_running_loop()
        opening = loop.connect_accepted_socket(
            lambda: TlsTransport(self._engine, self._buffer, GatewayConnection(self._shared, self._admission)), accepted
        )
        task: asyncio.Task[object] = loop.create_task(opening)
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
