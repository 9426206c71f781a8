"""An established DTLS session, which is also the address of its CoAP messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from span_events.fleet.devices.sessions import Session
from span_events.ids import render
from span_events.listeners.dtls.suites import Offer
from span_events.log import get_logger
from span_events.net import Remote, render_remote
from span_events.wire.dtls.engine import EngineSession

log = get_logger("listeners.dtls")

NUMBER: Final = slice(3, 11)
"""Epoch and sequence number of a datagram's first record."""


class DtlsSession:
    """
    An established session.

    Args:
        random: The random of the client's hello, which tells a copy of that hello from a new one.
        offer: Offer of a client that offered suites with PSK and suites with certificates.
        send: Sends a datagram; may raise OSError.
        began: Monotonic seconds.
    """

    __slots__ = (
        *("_began", "_received", "_send", "_sent"),
        *("engine", "fleet", "is_over", "newest", "offer", "random", "remote"),
    )

    def __init__(
        self,
        remote: Remote,
        engine: EngineSession,
        random: bytes,
        send: Callable[[bytes, Remote], None],
        began: float,
        offer: Offer | None = None,
    ) -> None:
        self.remote = remote
        self.engine = engine
        self.random = random
        self.offer = offer
        self.fleet: Session
        """The fleet's session."""
        self.is_over = False
        """True after the end of the session: nothing can be sent."""
        self.newest = b""
        """Highest epoch and sequence number of the application data that could be read."""
        self._send = send
        self._began = began
        self._received = 0
        self._sent = 0

    def send(self, payload: bytes) -> None:
        """
        Send application data.

        Raises:
            OSError: The network refuses the datagram, or the payload does not fit into a record.
        """
        self.engine.send(payload)
        for datagram in self.engine.take():
            self._send(datagram, self.remote)
        self._sent += 1

    def note_received(self) -> None:
        """Count a message of the client."""
        self._received += 1

    def log_opened(self, cipher: str) -> None:
        """Write the line of the log with which a session begins."""
        fleet = self.fleet
        log.info(
            "dtls_session_opened",
            session=render(fleet.id),
            device=render(fleet.device.id),
            transport=fleet.transport.value,
            remote=render_remote(self.remote),
            cipher=cipher,
        )

    def log_closed(self, reason: str, now: float) -> None:
        """Write the line of the log with which a session ends, with its totals."""
        log.info(
            "dtls_session_closed",
            session=render(self.fleet.id),
            reason=reason,
            seconds=round(now - self._began, 1),
            received=self._received,
            sent=self._sent,
        )
