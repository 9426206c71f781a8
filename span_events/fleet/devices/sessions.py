"""
Client sessions of devices: opened by a handshake or a first message, ended by silence, the device or the API.

Each public method handles one occurrence: it changes the state and publishes the events; none raises or awaits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from span_events.bounded.alternations import Alternations
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import SessionsConfig
from span_events.events.catalogue import ClientConnected, ClientDisconnected, IdentityConflict
from span_events.events.message import Transport
from span_events.events.reasons import ConflictReason, DisconnectReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.identity import show_identity
from span_events.fleet.summaries import Summaries
from span_events.net import Remote, render_remote
from span_events.registry.directory import Directory
from span_events.registry.model import Collection, Device

_TOGETHER: Final = 600.0
"""Seconds within which uses of one certificate or PSK from two addresses in turn are a conflict."""
_RETURNS: Final = 3
"""Returns to the port before, in a row, after which two ports of one address count as two senders."""
_LOOK: Final = 30.0
"""Seconds between two looks at the certificates of all sessions; a look at 20,000 takes 20 ms."""
_IDENTITIES: Final = 10_000
"""Upper bound of certificates and PSKs whose last two addresses are in memory."""


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
    other: Remote | None = None
    """Address and port before the present ones; without DTLS, one device may have several ports."""
    returns: int = 0
    """Number of returns of the session to the port before the present one."""


class _Table:
    """The open sessions, those with the oldest input first."""

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


class Sessions:
    """
    Opens and ends the client sessions of devices, and publishes both.

    Args:
        changed: Called with a device whose fields changed, so that the next batch writes it.
    """

    def __init__(
        self,
        config: SessionsConfig,
        *,
        bus: Bus,
        directory: Directory,
        clock: Clock,
        changed: Callable[[Device], None],
    ) -> None:
        self._idle_timeout = config.idle_timeout
        self._bus = bus
        self._directory = directory
        self._clock = clock
        self._changed = changed
        self._table = _Table()
        self._next_look = 0.0
        self._hosts: Alternations[tuple[int, int | None], str] = Alternations(limit=_IDENTITIES, within=_TOGETHER)
        self._conflicts = Summaries(bus=bus, clock=clock, burst=1, window=_TOGETHER, senders=_IDENTITIES)

    def __len__(self) -> int:
        return len(self._table)

    # ---- called by listeners ------------------------------------------------------------------

    def connected(
        self,
        device: Device,
        remote: Remote,
        *,
        transport: Transport,
        cipher: str,
        handshake_ms: int,
        retransmissions: int,
        certificate_serial: int | None = None,
        close: Callable[[DisconnectReason], None],
    ) -> Session:
        """
        Open the session of a device that completed a DTLS handshake.

        Args:
            certificate_serial: Serial number of the client certificate; None if the device used its PSK.
            close: Called once when the server ends the session: idle timeout, or a change by the API. The
                listener reports its own reasons through `disconnected`.
        """
        time_ns = self._clock.time_ns()
        session_id = self._bus.new_id(time_ns)
        session = Session(
            session_id,
            session_id,
            device,
            transport,
            remote,
            self._clock.monotonic(),
            certificate_serial,
            psk=certificate_serial is None,
            close=close,
        )
        self._table.add(session)
        device.traffic.sessions += 1
        device.inet.remote_address = render_remote(remote)
        device.inet.certificate_serial = "" if certificate_serial is None else str(certificate_serial)
        device.inet.transport = transport.value
        device.inet.last_update = time_ns // 1_000_000
        self._changed(device)
        self._bus.publish(
            ClientConnected(
                origin=device.origin,
                session_id=session_id,
                identified_by="psk" if certificate_serial is None else "certificate",
                transport=transport,
                remote_address=device.inet.remote_address,
                certificate_serial=device.inet.certificate_serial or None,
                cipher=cipher,
                handshake_ms=handshake_ms,
                retransmissions=retransmissions,
            )
        )
        self._notice_conflict(session, self._clock.monotonic())
        return session

    def disconnected(self, session: Session, reason: DisconnectReason, *, detail: str | None = None) -> None:
        """End a DTLS session; a session that has ended already is ignored."""
        if self._table.remove(session):
            self._publish_end(session, reason, detail=detail)

    def contacted(
        self,
        device: Device,
        remote: Remote,
        *,
        transport: Transport,
        session: Session | None = None,
        cause: int | None = None,
    ) -> Session:
        """
        Record input of a device, and return its session; its first input, also after an idle timeout, opens one.

        Args:
            session: The DTLS session; None selects the device's session over this transport.
            cause: Id of the message or request, for `clientConnected`.
        """
        now = self._clock.monotonic()
        if session is not None:
            self._table.touch(session, now)
            self._notice_conflict(session, now)
            return session
        key = (device.id, transport)
        session = self._table.find(key)
        if session is not None:
            if session.remote != remote:
                self._notice_other_port(session, remote)
            self._table.touch(session, now)
            return session
        session = Session(self._bus.new_id(), key, device, transport, remote, now)
        self._table.add(session)
        device.traffic.sessions += 1
        self._bus.publish(
            ClientConnected(
                origin=device.origin,
                correlation_id=cause,
                session_id=session.id,
                identified_by="ip",
                transport=transport,
                remote_address=render_remote(remote),
            )
        )
        return session

    # ---- called by other parts ----------------------------------------------------------------

    def address_lost(self, device: Device, reason: DisconnectReason, *, detail: str = "", cause: int | None) -> None:
        """End the sessions over UDP and CoAP from an address that the device has lost."""
        for transport in (Transport.UDP, Transport.COAP):
            session = self._table.find((device.id, transport))
            if session is not None and self._directory.device_at(session.remote[0]) is not device:
                self._table.remove(session)
                self._publish_end(session, reason, detail=detail or None, cause=cause)

    def end(
        self, device: Device, reason: DisconnectReason, cause: int, *, transports: Container[Transport] | None = None
    ) -> None:
        """End the sessions of a device; with ``transports``, only the sessions over these."""
        for session in self._table.take(
            lambda each: each.device is device and (transports is None or each.transport in transports)
        ):
            self._end(session, reason, cause=cause)

    def moved(self, newer: Mapping[Device, tuple[str, str]]) -> None:
        """
        End the DTLS sessions of devices that began a newer one at another node, from the same address.

        Two sessions from two addresses may be two devices with one identity, and sessions over two transports (DTLS
        and CoAPS) belong to two parts of one device: both stay.

        Args:
            newer: Transport and address of each device's newer session.
        """
        if not newer:
            return
        for session in self._table.take(
            lambda each: each.close is not None and newer.get(each.device) == (each.transport.value, each.remote[0])
        ):
            self._end(session, DisconnectReason.REPLACED)

    def collection_updated(self, collection: Collection, change: CollectionChange, cause: int) -> None:
        """End the sessions of all devices of a collection that was disabled."""
        if change.enabled is not False:
            return
        for session in self._table.take(lambda each: each.device.collection is collection):
            self._end(session, DisconnectReason.DEVICE_DISABLED, cause=cause)

    def certificate_revoked(self, serial: int) -> None:
        """End the sessions that a revoked certificate opened."""
        for session in self._table.take(lambda each: each.certificate_serial == serial):
            self._end(session, DisconnectReason.CERTIFICATE_REVOKED)

    def psk_changed(self, device: Device) -> None:
        """End the sessions that the replaced or removed PSK of a device opened."""
        for session in self._table.take(lambda each: each.psk and each.device is device):
            self._end(session, DisconnectReason.PSK_CHANGED)

    def sweep(self) -> None:
        """End idle sessions and, twice a minute, those whose certificate has expired; called about once a second."""
        now = self._clock.monotonic()
        for session in self._table.take_silent(now - self._idle_timeout):
            self._end(session, DisconnectReason.IDLE_TIMEOUT, idle_seconds=int(now - session.last_seen))
        if now >= self._next_look:
            self._next_look = now + _LOOK
            for session in self._table.take(self._is_over):
                self._end(session, DisconnectReason.CERTIFICATE_EXPIRED)
        self._conflicts.sweep()

    # ---- private ------------------------------------------------------------------------------

    def _notice_conflict(self, session: Session, now: float) -> None:
        """Publish `identityConflict` if two hosts use one certificate or PSK in turn."""
        identity = (session.device.id, session.certificate_serial)
        other = self._hosts.note(identity, session.remote[0], now)
        if other is None:
            return
        serial, psk = session.certificate_serial, session.device.psk
        event = IdentityConflict(
            origin=session.device.origin,
            session_id=session.id,
            transport=session.transport,
            remote_address=render_remote(session.remote),
            other_address=other,
            certificate_serial=None if serial is None else str(serial),
            identity=show_identity(psk.identity) if serial is None and psk is not None else None,
        )
        self._conflicts.publish(event, identity, IdentityConflict.name)

    def _notice_other_port(self, session: Session, remote: Remote) -> None:
        """Publish two ports of one address that send in turn: probably two devices behind one NAT."""
        if remote == session.other:
            session.returns += 1
            if session.returns >= _RETURNS:
                event = IdentityConflict(
                    origin=session.device.origin,
                    session_id=session.id,
                    reason=ConflictReason.SHARED_ADDRESS,
                    transport=session.transport,
                    remote_address=render_remote(remote),
                    other_address=render_remote(session.remote),
                )
                self._conflicts.publish(event, session.key, IdentityConflict.name)
        else:
            session.returns = 0
        session.other, session.remote = session.remote, remote

    def _is_over(self, session: Session) -> bool:
        """Return whether the certificate of a session has expired."""
        if session.certificate_serial is None:
            return False
        certificate = self._directory.certificate_with(session.certificate_serial)
        return certificate is not None and certificate.not_after_ms <= self._clock.time_ns() // 1_000_000

    def _end(
        self, session: Session, reason: DisconnectReason, *, idle_seconds: int | None = None, cause: int | None = None
    ) -> None:
        """Close a session that was removed from the table, and publish its end."""
        self._publish_end(session, reason, idle_seconds=idle_seconds, cause=cause)
        if session.close is not None:
            session.close(reason)

    def _publish_end(
        self,
        session: Session,
        reason: DisconnectReason,
        *,
        idle_seconds: int | None = None,
        detail: str | None = None,
        cause: int | None = None,
    ) -> None:
        self._bus.publish(
            ClientDisconnected(
                origin=session.device.origin,
                correlation_id=cause,
                session_id=session.id,
                reason=reason,
                transport=session.transport,
                idle_seconds=idle_seconds,
                detail=detail,
                remote_address=render_remote(session.remote),
            )
        )
