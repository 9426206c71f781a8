"""HTTP uploads of blobs: the two ports. Clients are in `clients`, the HTTP exchange is in `upload`."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Final, Protocol

from span_events import accepting
from span_events.clock import Clock
from span_events.config import BlobsConfig
from span_events.fleet.blobs.blobs import Blobs
from span_events.listeners.blobs.upload import BlobClient, UploadConnection
from span_events.listeners.ports import Ports
from span_events.listeners.tcp import TcpStream
from span_events.listeners.udp import unmapped
from span_events.log import get_logger
from span_events.metrics import Histogram, HistogramMetric, Measure, Metric
from span_events.net import Remote, bind, render_remote

log = get_logger("listeners.blobs")

_BACKLOG: Final = 512
"""Connections that wait in the kernel to be accepted."""


class Acceptor(Protocol):
    """Opens accepted connections: the step before HTTP."""

    handshakes: Histogram | None
    """Durations of handshakes in seconds; None without TLS."""

    async def open(self, accepted: socket.socket, remote: Remote) -> tuple[TcpStream, BlobClient] | None:
        """Return the stream and the client; None after a failed handshake, which is published."""


class BlobListener:
    """
    Listens for uploads on one TCP port.

    Args:
        name: ``blobs`` or ``blobs_tls``.
        setting: Path of the port in the configuration.
        acceptor: Opens connections and identifies clients.
        refused: Counts connections for which no descriptor is left.
        ports: Ports of the other protocols, for clients that speak one.
    """

    def __init__(
        self,
        name: str,
        config: BlobsConfig,
        *,
        setting: str,
        port: int,
        acceptor: Acceptor,
        blobs: Blobs,
        clock: Clock,
        refused: accepting.RefusedAccepts,
        ports: Ports | None = None,
    ) -> None:
        self.name = name
        self._config = config
        self._setting = setting
        self._port = port
        self._acceptor = acceptor
        self._blobs = blobs
        self._clock = clock
        self._accepting = accepting.Acceptor(name, refused, self._accepted)
        self._address = ("", 0)
        self._ports = ports or Ports()
        self._connections: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}
        """Connections without a request yet, the oldest first."""
        self.accepted = 0
        """Number of accepted connections."""
        self.octets = 0
        """Octets of HTTP from the connections that are over."""
        self.displaced = 0
        """Number of connections closed for a newer one, because there were too many."""
        self.defects = 0
        """Number of connections that failed by a defect of the server."""

    @property
    def address(self) -> str:
        """The bound address, ``host:port``."""
        return render_remote(self._address)

    async def start(self) -> None:
        """Bind; raises `ListenerUnavailable`."""
        bound = bind(self.name, self._config.host, self._port, socket.SOCK_STREAM, setting=self._setting)
        self._address = bound.getsockname()[:2]
        self._accepting.start(bound, _BACKLOG)

    async def run(self) -> None:
        """Serve until cancelled; ends with an error when the socket is lost."""
        await self._accepting.lost

    async def stop(self) -> None:
        """Close the socket and all connections; idempotent."""
        self._accepting.stop()
        await asyncio.sleep(0)  # a task that is cancelled before its first step would not close its socket
        for each in self._connections:
            each.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def metrics(self) -> list[Measure]:
        """Return the metrics."""
        return [
            Metric(
                f"{self.name}_connections",
                "Connections of uploads; at most blobs.connections.",
                "gauge",
                lambda: len(self._connections),
            ),
            Metric(
                f"{self.name}_displaced",
                "Connections without a request that were closed for a newer one.",
                "counter",
                lambda: self.displaced,
            ),
            Metric(f"{self.name}_defects", "Defects: an upload's handling failed.", "counter", lambda: self.defects),
            Metric(
                f"{self.name}_received_bytes",
                "Bytes of HTTP from the connections that are over.",
                "counter",
                lambda: self.octets,
            ),
            *self._handshake_metrics(),
        ]

    def _handshake_metrics(self) -> Iterator[HistogramMetric]:
        durations = self._acceptor.handshakes
        if durations is not None:
            text = "Time from an accepted connection to the end of its TLS handshake."
            yield HistogramMetric(f"{self.name}_handshake_duration_seconds", text, lambda: durations)

    def _accepted(self, accepted: socket.socket, address: Remote) -> None:
        self.accepted += 1
        self._serve(accepted, unmapped(*address))

    def _serve(self, accepted: socket.socket, remote: Remote) -> None:
        if len(self._connections) >= self._config.connections:
            self.displaced += 1
            if not self._waiting:  # every connection has an upload
                accepted.close()
                return
            oldest = next(iter(self._waiting))
            oldest.cancel()
            del self._waiting[oldest]
        task = asyncio.get_running_loop().create_task(self._handle(accepted, remote))
        self._connections.add(task)
        self._waiting[task] = None
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._connections.discard(task)
        self._waiting.pop(task, None)
        if not task.cancelled() and (failure := task.exception()) is not None:
            log.error("upload_defect", listener=self.name, exc_info=failure)
            self.defects += 1

    async def _handle(self, accepted: socket.socket, remote: Remote) -> None:
        task = asyncio.current_task()
        assert task is not None, "it was made by _serve"
        try:
            opened = await self._acceptor.open(accepted, remote)
        except Exception:  # a defect
            accepted.close()
            raise
        if opened is None:
            return
        stream, client = opened
        upload = UploadConnection(
            self._config,
            stream,
            remote,
            client,
            blobs=self._blobs,
            clock=self._clock,
            on_request=lambda: self._waiting.pop(task, None),
            ports=self._ports,
        )
        try:
            await upload.hold()
        finally:
            self.octets += stream.octets
        self.defects += upload.failed
