"""Listener for MQTT clients: plaintext by default, TLS by configuration."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar, Final, cast

from span_events.accepting import Acceptor, RefusedAccepts
from span_events.errors import LimitReached
from span_events.metrics import Metric
from span_events.net import Remote, bind, render_remote
from span_events.web.mqtt.service import MqttService
from span_events.web.mqtt.session import Session
from span_events.web.streams.admission import Place
from span_events.web.streams.replies import CLOSE_TIMEOUT, probe, tune
from span_events.web.tls import OptionalTls
from span_events.wire.mqtt.reasons import Reason
from span_events.wire.openssl import Identity

_TICK: Final = 1.0
"""Seconds between two checks of deadlines."""
_BACKLOG: Final = 1024
"""Connections that may wait to be accepted."""


class MqttListener:
    """
    The listener.

    Args:
        identities: The server's keys and certificates, for TLS.
        shared: True if other processes of this machine have the same port.
    """

    name: ClassVar[str] = "mqtt"

    def __init__(
        self,
        service: MqttService,
        *,
        identities: Sequence[Identity],
        refused: RefusedAccepts,
        shared: bool = False,
    ) -> None:
        self._shared = shared
        self._service = service
        self._config = service.shared.config
        self._accepting = Acceptor(self.name, refused, self._accepted)
        self._address: Remote = ("", 0)
        self._tls = OptionalTls("mqtt", "mqtt", identities, enabled=self._config.tls, most=self._config.connections)

    @property
    def address(self) -> str:
        """Bound address, ``host:port``."""
        return render_remote(self._address)

    def present(self, identities: Sequence[Identity]) -> None:
        """Show new certificates in the handshakes from now on."""
        self._tls.present(identities)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [*self._service.metrics(), self._tls.failures.metric()]

    async def start(self) -> None:
        """Bind; raises `ListenerUnavailable`."""
        bound = bind(self.name, self._config.host, self._config.port, socket.SOCK_STREAM, shared=self._shared)
        self._address = bound.getsockname()[:2]
        self._accepting.start(bound, _BACKLOG)

    async def run(self) -> None:
        """Serve until cancelled."""
        clock = self._service.shared.clock
        while not self._accepting.lost.done():
            await clock.sleep(_TICK)
            self._service.sweep(clock.monotonic())
        self._accepting.lost.result()

    async def stop(self) -> None:
        """Refuse new connections; open ones end with the other streams, see `close`."""
        self._accepting.stop()

    async def close(self) -> None:
        """End all sessions, and return when their connections are closed."""
        self._tls.close()
        await self._service.close()

    def _accepted(self, accepted: socket.socket, address: Remote) -> None:
        self._tls.open(accepted, address, lambda: _Connection(self._service))


class _Connection(asyncio.Protocol):
    """A TCP or TLS connection (`Link` of its session)."""

    __slots__ = ("_held", "_service", "_session", "_timer", "remote", "sink")

    is_websocket: ClassVar[bool] = False

    def __init__(self, service: MqttService) -> None:
        self._service = service
        self._session: Session | None = None
        self._held: Place | None = None  # among the streams of the address
        self._timer: asyncio.TimerHandle | None = None
        self.remote = ""
        self.sink: asyncio.Transport

    # ---- called by asyncio --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a session."""
        self.sink = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.remote = peer[0] if isinstance(peer, tuple) else ""
        shared = self._service.shared
        try:
            self._held = shared.admission.hold_address(self.remote)
        except LimitReached as exc:
            self._service.refused(Reason.QUOTA_EXCEEDED, exc.detail, self.remote)
            self.sink.abort()
            return
        tune(self.sink, send_buffer=shared.send_buffer)
        probe(self.sink)
        self._session = Session(shared, self._service, self)

    def data_received(self, data: bytes) -> None:
        """Pass octets on."""
        if self._session is not None:
            self._session.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        if self._timer is not None:
            self._timer.cancel()
        if self._held is not None:
            self._held.release()
        if self._session is not None:
            self._session.lost()

    # ---- called by the session ----------------------------------------------------------------

    def send(self, packet: bytes) -> None:
        """Send a packet, unless the connection is closing."""
        if not self.sink.is_closing():
            self.sink.write(packet)

    def close(self, reason: Reason, _text: str) -> None:
        """Close our direction; the client gets a little time to read, and to close its own."""
        if self.sink.is_closing():
            return
        self._timer = asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self.sink.abort)
        if reason is Reason.MESSAGE_RATE_TOO_HIGH:
            self.sink.pause_reading()  # the rest stays in the kernel: reading it would cost what the client likes
        if reason is not Reason.SUCCESS and self.sink.can_write_eof():
            with suppress(OSError):  # the connection is lost, and `connection_lost` follows
                self.sink.write_eof()  # closing with unread input would reset the connection
        else:
            self.sink.close()

    def abort(self) -> None:
        """Close at once."""
        self.sink.abort()
