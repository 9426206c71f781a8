"""The HTTP port: accepts connections within bounds, and looks after those that wait."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Any, Final

from aiohttp import web

from span_events.accepting import Acceptor, RefusedAccepts
from span_events.bounded.quiet import OncePerMinute
from span_events.config import HttpConfig
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import bind, render_remote
from span_events.turns import Turns
from span_events.web.connection import Connection, Ended
from span_events.web.front import Front
from span_events.web.services import SERVICES
from span_events.web.tls import HandshakeFailures, HttpTls

log = get_logger("web")

_BACKLOG: Final = 4096
"""Connections that wait in the kernel to be accepted."""
_LINGER: Final = 5.0
"""Seconds in which the rest of a body is read and dropped after its reply."""
_PARTING: Final = 2.0
"""Seconds that a client of TLS has to answer our close_notify."""
_SOURCES: Final = 1_000
"""Clients that get a log line of their own in a minute."""


class WebServer:
    """
    One TCP port: REST, streams and metrics, or nothing but metrics and health.

    Args:
        app: What the port serves (`span_events.web.app`).
        name: Name of the port in the log and in errors, and its table of the configuration.
        shared: True if other processes of this machine have the same port.
        refused: Counts the connections for which there is no descriptor.
        tls: TLS of the port; None serves plain HTTP.
        linger: Seconds in which the rest of a body is read and dropped after its reply.
    """

    def __init__(
        self,
        config: HttpConfig,
        app: web.Application,
        *,
        refused: RefusedAccepts,
        name: str = "http",
        shared: bool = False,
        tls: HttpTls | None = None,
        linger: float = _LINGER,
    ) -> None:
        self._config = config
        self._services = app[SERVICES]
        self.name = name
        self._shared = shared
        self.tls = tls
        self._options: dict[str, Any] = {
            "access_log": None,
            "auto_decompress": False,
            "keepalive_timeout": config.idle_timeout,
            "lingering_time": linger,
        }
        self._runner = web.AppRunner(
            app, handle_signals=False, shutdown_timeout=config.shutdown_timeout, **self._options
        )
        self._front: Front | None = None
        self._accepting = Acceptor(name, refused, self._open, short=True, is_behind=self._services.turns.are_waiting)
        self.address = ""
        """The bound address, ``host:port``."""
        self._opening: dict[asyncio.Task[object], socket.socket | None] = {}  # with the socket until the task begins
        """Connections without a handshake yet, the oldest first; without TLS, only for a moment."""
        self.turns = Turns()
        """Turns of connections with more input than one wake-up may parse."""
        self._waiting: dict[Connection, None] = {}
        """Connections without a request, the longest waiting first."""
        self._busy: dict[Connection, None] = {}
        """Connections with a request, the oldest request first."""
        self._quiet = OncePerMinute(_SOURCES)
        self.accepted = 0
        """Number of accepted connections."""
        self.failures = HandshakeFailures(name)
        """Failed TLS handshakes."""
        self.endings: Counter[str] = Counter(dict.fromkeys(Ended, 0))
        """Number of connections that the server ended, by reason."""

    async def start(self) -> None:
        """
        Bind and serve.

        Raises:
            ListenerUnavailable: The address cannot be bound.
        """
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        self._front = Front(self._services, server.request_handler)
        server.request_handler = self._front
        bound = bind(self.name, self._config.host, self._config.port, socket.SOCK_STREAM, shared=self._shared)
        self.address = render_remote(bound.getsockname()[:2])
        self._accepting.start(bound, _BACKLOG)

    async def run(self) -> None:
        """Wait until the listening socket is lost, which is an error, or until cancelled."""
        await asyncio.shield(self._accepting.lost)

    async def stop(self) -> None:
        """Refuse new connections, answer the requests under way, and close all; harmless when repeated."""
        self._accepting.stop()
        await asyncio.sleep(0)  # a task that is cancelled before its first step would not close its socket
        if self.tls is not None:
            for each in self._opening:
                each.cancel()
        if self._opening:
            await asyncio.wait(self._opening)
        await self._runner.cleanup()

    async def sweep(self) -> None:
        """Once a second: end the connections whose clients are overdue."""
        now = self._services.clock.monotonic()
        for connection in (*self._waiting, *self._busy):
            connection.check(now)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "http_connections",
                "HTTP connections without a stream; at most http.connections.",
                "gauge",
                lambda: len(self),
            ),
            Metric("http_replies", "HTTP replies; of streams at their end.", "counter", self._replies, label="code"),
            Metric(
                "http_connections_ended",
                "HTTP connections that the server ended.",
                "counter",
                lambda: dict(self.endings),
                label="reason",
            ),
            self.failures.metric(),
        ]

    def _replies(self) -> dict[str, float]:
        return {str(status): count for status, count in self._front.replies.items()} if self._front else {}

    def __len__(self) -> int:
        """Return the number of connections without a stream."""
        return len(self._waiting) + len(self._busy) + len(self._opening)

    # ---- accepting ----------------------------------------------------------------------------

    def _open(self, accepted: socket.socket, address: tuple[str, int]) -> None:
        self.accepted += 1
        if len(self) >= self._config.connections and not self._make_room():
            accepted.close()
            self.ended(Ended.DISPLACED, None)
            return
        loop = asyncio.get_running_loop()
        task: asyncio.Task[object] = loop.create_task(self._connect(accepted, address[0]))
        self._opening[task] = accepted
        task.add_done_callback(self._opened)

    def _opened(self, task: asyncio.Task[object]) -> None:
        self._opening.pop(task, None)

    def _make_room(self) -> bool:
        """
        End the connection that has waited longest for a handshake or a request, or else for the rest of a body.

        Returns:
            False if all have a complete request, or a token.
        """
        if self._opening and (not self._waiting or (self.tls is not None and len(self._opening) > len(self._waiting))):
            handshake = next(iter(self._opening))
            accepted = self._opening.pop(handshake)
            handshake.cancel()
            if accepted is not None:
                accepted.close()
            self.ended(Ended.DISPLACED, None)
            return True
        oldest = next(iter(self._waiting), None) or next((each for each in self._busy if each.owes_body), None)
        if oldest is None:
            return False
        self.lost(oldest)
        oldest.displace()
        return True

    async def _connect(self, accepted: socket.socket, host: str) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._opening[task] = None  # the task closes the socket from now on, also when it is cancelled
        server = self._runner.server
        assert server is not None
        secure: dict[str, Any] = {}
        if self.tls is not None:
            secure = {
                "ssl": self.tls.context,
                "ssl_handshake_timeout": self._config.header_timeout,
                "ssl_shutdown_timeout": _PARTING,
            }
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: Connection(server, self, self._config, self._services.clock, self._options), accepted, **secure
            )
        except OSError as exc:  # the client left meanwhile, or its handshake failed
            if secure:
                self.failures.note(exc, host)

    # ---- called by connections ----------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """Count a connection."""
        self._waiting[connection] = None

    def busy(self, connection: Connection) -> None:
        """Note that a request is complete."""
        self._waiting.pop(connection, None)
        self._busy[connection] = None

    def waits(self, connection: Connection) -> None:
        """Note that the connection waits for a request."""
        if connection in self._busy:
            del self._busy[connection]
            self._waiting[connection] = None

    def lost(self, connection: Connection) -> None:
        """Forget a connection."""
        self._waiting.pop(connection, None)
        self._busy.pop(connection, None)

    def ended(self, reason: Ended, remote: str | None, detail: str = "") -> None:
        """Count and log the end of a connection by the server."""
        self.endings[reason] += 1
        if count := self._quiet.admits((reason, remote), self._services.clock.monotonic()):
            more = {"detail": detail} if detail else {}
            log.warning("connection_ended", reason=reason.value, remote=remote, count=count, **more)
