"""Who is connected: the open sessions, the one that has been silent longest first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

from span_events.events.message import Transport
from span_events.events.reasons import DisconnectReason
from span_events.net import Remote
from span_events.registry.model import Device


@dataclass(slots=True, eq=False)
class Session:
    """
    A device that speaks to us over one transport.

    Over UDP and CoAP a device has one per transport; over DTLS each handshake makes one, and a device
    may have several at once.
    """

    id: int
    key: Hashable
    """What it is found by."""
    device: Device
    transport: Transport
    remote: Remote
    last_seen: float
    """Monotonic seconds."""
    certificate_serial: int | None = None
    """Of the certificate that it rests on."""
    psk: bool = False
    """Whether it rests on the device's PSK."""
    close: Callable[[DisconnectReason], None] | None = None
    """Called when the session is ended from our side; None where there is nothing to close."""


class Sessions:
    """The open sessions."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Hashable, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def find(self, key: Hashable) -> Session | None:
        """Return the session with a key."""
        return self._sessions.get(key)

    def add(self, session: Session) -> None:
        """Take in a session."""
        self._sessions[session.key] = session

    def touch(self, session: Session, now: float) -> None:
        """Note that something came."""
        session.last_seen = now
        if session.key in self._sessions:
            self._sessions.move_to_end(session.key)

    def remove(self, session: Session) -> bool:
        """Forget a session; tell whether it was there."""
        return self._sessions.pop(session.key, None) is not None

    def take(self, which: Callable[[Session], bool]) -> list[Session]:
        """Remove and return those that fulfil a condition."""
        found = [each for each in self._sessions.values() if which(each)]
        for each in found:
            del self._sessions[each.key]
        return found

    def take_silent(self, since: float) -> Iterator[Session]:
        """Remove and yield those of which nothing came after a moment (monotonic seconds)."""
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.last_seen > since:
                return
            del self._sessions[session.key]
            yield session
