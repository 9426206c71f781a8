"""Client sessions of devices, ordered by last input, oldest first."""

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
    A client session: a device that is connected over one transport.

    Over UDP and CoAP a device has one session per transport; over DTLS each handshake opens a session, and a
    device may have several at once.
    """

    id: int
    key: Hashable
    """Key in the table of sessions."""
    device: Device
    transport: Transport
    remote: Remote
    last_seen: float
    """Time of the last input, monotonic seconds."""
    certificate_serial: int | None = None
    """Serial number of the client certificate, if one opened the session."""
    psk: bool = False
    """True if the device's PSK opened the session."""
    close: Callable[[DisconnectReason], None] | None = None
    """Called when the server ends the session; None without a connection to close."""


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
        """Add a session."""
        self._sessions[session.key] = session

    def touch(self, session: Session, now: float) -> None:
        """Record input of a session."""
        session.last_seen = now
        if session.key in self._sessions:
            self._sessions.move_to_end(session.key)

    def remove(self, session: Session) -> bool:
        """Remove a session; return whether it was present."""
        return self._sessions.pop(session.key, None) is not None

    def take(self, which: Callable[[Session], bool]) -> list[Session]:
        """Remove and return the sessions that fulfil a condition."""
        found = [each for each in self._sessions.values() if which(each)]
        for each in found:
            del self._sessions[each.key]
        return found

    def take_silent(self, since: float) -> Iterator[Session]:
        """Remove and yield the sessions without input after a time (monotonic seconds)."""
        while self._sessions:
            session = next(iter(self._sessions.values()))
            if session.last_seen > since:
                return
            del self._sessions[session.key]
            yield session
