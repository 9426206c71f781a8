"""
Senders of NATS messages: this process, other nodes of its server, and other servers, whose events are none of ours.

Servers that share an account of NATS use the same subjects. Each needs an account of its own, as they also share the
limits of the history; until then a node shows nothing of another server, and tells its operator.
"""

from __future__ import annotations

import secrets
from typing import Final

from span_events.bounded.quiet import OncePerMinute
from span_events.bus import wire
from span_events.clock import Clock
from span_events.log import get_logger

log = get_logger("bus")

_MINUTE: Final = 60.0
"""Seconds for which health tells of another server after its last message."""
_HINT: Final = (
    "Give each server an account of NATS of its own (accounts in nats.conf): they share the history's limits."
)


class Senders:
    """
    Tells messages of this server from those of others.

    Args:
        server: Name that all nodes of this server have in common, without a dot.
    """

    def __init__(self, server: str, clock: Clock) -> None:
        self._server = server.encode()
        self._clock = clock
        self.name = b"%b.%b" % (self._server, secrets.token_hex(6).encode())
        """Name of this process in the NATS messages that it sends."""
        self.foreign = 0
        """Events and messages of other servers."""
        self._heard = -_MINUTE
        self._quiet = OncePerMinute(1)

    def unpack(self, data: bytes, *, is_past: bool = False) -> tuple[bool, list[bytes]]:
        """
        Return whether this process sent a NATS message, and its lines; none if another server sent it.

        Args:
            is_past: It is of the history: its sender may have moved to another account since.
        """
        sender, lines = wire.unpack(data)
        server, dot, _ = sender.partition(b".")
        if dot and server != self._server:
            self._note(len(lines), is_past=is_past)
            return False, []
        return sender == self.name, lines

    @property
    def fault(self) -> str:
        """Sentence about another server that sent something in the last minute; empty if none did."""
        is_recent = self._clock.monotonic() - self._heard < _MINUTE
        return "another span-events server uses this account of NATS; each needs its own" if is_recent else ""

    def _note(self, count: int, *, is_past: bool) -> None:
        self.foreign += count
        if is_past:
            return
        self._heard = self._clock.monotonic()
        if messages := self._quiet.admits("foreign", self._heard):
            log.warning("bus_shared_with_another_server", messages=messages, hint=_HINT)
