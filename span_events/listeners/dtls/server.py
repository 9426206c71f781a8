"""
The DTLS shell of one UDP socket: feeds handshakes and sessions, transmits, keeps one timer, publishes rejections.

An address may have an established session and a handshake at the same time: a rebooted device sends its hello from
the same port, and the old session stays until the new handshake is complete. So no forged datagram ends a session
(RFC 6347 §4.2.8 requires less).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.config import DtlsConfig
from span_events.errors import MalformedMessage
from span_events.events.message import Transport
from span_events.events.reasons import ClientRejectedReason, DisconnectReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.identity import Identification
from span_events.listeners.dtls.client import Client
from span_events.listeners.dtls.fragmented import FragmentedHellos
from span_events.listeners.dtls.handshakes import Handshake, Handshakes, HelloCheck, Hellos
from span_events.listeners.dtls.metrics import metrics_of
from span_events.listeners.dtls.refusals import Refusals
from span_events.listeners.dtls.session import NUMBER, DtlsSession
from span_events.listeners.dtls.sessions import Sessions
from span_events.listeners.dtls.strays import Strays
from span_events.listeners.dtls.suites import SuiteChoices
from span_events.metrics import Histogram, Measure
from span_events.net import Remote
from span_events.registry.model import Certificate, Device
from span_events.wire.dtls.engine import Closed, Data, End, Engine, Established, Event, Failed, Failure
from span_events.wire.dtls.hello import (
    ClientHello,
    hello_verify_request,
    is_fragment,
    is_hello,
    read_hello,
)
from span_events.wire.dtls.records import Alert, ContentType, alert, cut_of, is_dtls

_OF_SESSIONS: Final = frozenset({ContentType.APPLICATION_DATA, ContentType.ALERT})
"""Encrypted records of these types go to the session, also while its address has a handshake."""
_APPLICATION_DATA: Final = int(ContentType.APPLICATION_DATA)
_SERVER_HELLO: Final = 128
"""Octets of a flight that hold the cipher suite of its ServerHello."""
_REASONS: Final = {
    End.CLOSE_NOTIFY: DisconnectReason.CLOSE_NOTIFY,
    End.ALERT: DisconnectReason.CLIENT_ALERT,
    End.BROKEN: DisconnectReason.SERVER_ALERT,
}


@dataclass(frozen=True, slots=True)
class DtlsContext:
    """The parts that the DTLS servers of all ports share."""

    config: DtlsConfig
    engine: Engine
    reception: Reception
    identification: Identification
    used: Callable[[Certificate], None]
    """Called with each certificate with which a session begins."""
    clock: Clock
    servers: dict[Transport, DtlsServer] = field(default_factory=dict, init=False)
    """The servers that `serve` created."""

    def metrics(self) -> list[Measure]:
        """Return the metrics of all servers; none without servers."""
        return metrics_of(self.servers)

    def serve(
        self,
        transport: Transport,
        *,
        send: Callable[[bytes, Remote], None],
        deliver: Callable[[DtlsSession, bytes], None],
        ended: Callable[[DtlsSession], None],
    ) -> DtlsServer:
        """Create the server of one socket; see `DtlsServer`."""
        server = self.servers[transport] = DtlsServer(self, transport, send=send, deliver=deliver, ended=ended)
        return server


class DtlsServer:
    """
    The DTLS server of one socket; created while an event loop runs.

    Args:
        transport: Transport of the sessions: DTLS or CoAPS.
        send: Sends a datagram; may raise OSError.
        deliver: Called with the application data of a session.
        ended: Called with each session that has ended.
    """

    def __init__(
        self,
        shared: DtlsContext,
        transport: Transport,
        *,
        send: Callable[[bytes, Remote], None],
        deliver: Callable[[DtlsSession, bytes], None],
        ended: Callable[[DtlsSession], None],
    ) -> None:
        config = self._config = shared.config
        self._silences = OncePerMinute(config.half_open)
        self._engine = shared.engine
        self._transport = transport
        self._reception = shared.reception
        self._identification = shared.identification
        self._used = shared.used
        self._clock = shared.clock
        self._send = send
        self._deliver = deliver
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._hellos = Hellos(config.failures_per_minute)
        self._fragmented = FragmentedHellos(self._hellos)
        self._handshakes = Handshakes(config)
        self._suites = SuiteChoices()
        self._refusals = Refusals(shared.reception.rejections, shared.identification, shared.engine, transport)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        """The moment of the timer; uvloop's handle does not tell it for a moment that has passed."""
        self._sessions = Sessions()
        self._strays = Strays(
            self._sessions,
            transport,
            reception=shared.reception,
            identification=shared.identification,
            clock=shared.clock,
        )
        self.received = 0
        """Datagrams that are DTLS."""
        self.hellos = 0
        """Hellos without a valid cookie; each was answered with one small datagram, and no state was kept."""
        self.begun = 0
        """Handshakes whose cookie was valid."""
        self.completed = 0
        """Handshakes that led to a session."""
        self.silenced = 0
        """Hellos without an answer, because too many handshakes of their host had failed."""
        self.stray = 0
        """Datagrams that belong to no session."""
        self.unsent = 0
        """Datagrams of handshakes and close_notify alerts that the network refused."""

    @property
    def sessions(self) -> int:
        """Number of open sessions."""
        return len(self._sessions)

    @property
    def half_open(self) -> int:
        """Number of handshakes under way."""
        return len(self._handshakes)

    @property
    def durations(self) -> Histogram:
        """Durations of the handshakes that led to a session."""
        return self._handshakes.durations

    @property
    def assembled(self) -> int:
        """Number of hellos that were put together of fragments."""
        return self._fragmented.completed

    def takes(self, datagram: bytes, remote: Remote) -> bool:
        """Receive a datagram of DTLS records, or return False; a cut one is published, and no session sees it."""
        if is_dtls(datagram):
            self.receive(datagram, remote)
        elif cut := cut_of(datagram):
            self.received += 1
            self.stray += 1
            self._strays.cut(datagram, cut, remote)
        else:
            return False
        return True

    def receive(self, datagram: bytes, remote: Remote) -> None:
        """Pass a datagram that `is_dtls` to its session, its handshake, or the check of hellos."""
        self.received += 1
        self._route(datagram, remote)

    def _route(self, datagram: bytes, remote: Remote) -> None:
        kind, in_the_clear = datagram[0], datagram[3] == datagram[4] == 0
        session = self._sessions.at(remote)
        if session is not None and kind in _OF_SESSIONS and not in_the_clear:
            self._feed(session, datagram)
        elif is_hello(datagram):
            self._take_hello(datagram, remote)
        elif (handshake := self._handshakes.at(remote)) is not None:
            self._feed_handshake(handshake, datagram)
        elif session is None:
            self._take_stray(datagram, remote)
        elif kind in _OF_SESSIONS:
            self.stray += 1  # in the clear: anybody could have sent it
        else:
            self._feed(session, datagram)

    def stop(self) -> None:
        """End all sessions with a close_notify, and drop all handshakes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for handshake in self._handshakes:
            self._handshakes.remove(handshake)
        for session in self._sessions:
            self._close(session, DisconnectReason.SERVER_STOPPED)
            self._reception.sessions.disconnected(session.fleet, DisconnectReason.SERVER_STOPPED)

    # ---- hellos -----------------------------------------------------------------------------------

    def _take_hello(self, datagram: bytes, remote: Remote) -> None:
        now = self._clock.monotonic()
        try:
            if is_fragment(datagram):
                whole = self._fragmented.take(datagram, remote, now)
                if isinstance(whole, ClientHello):
                    self._ask_for_cookie(whole, remote, now)
                if not isinstance(whole, bytes):
                    return
                datagram = whole
            hello = read_hello(datagram)
        except MalformedMessage as exc:
            self._refusals.of_hello(ClientRejectedReason.MALFORMED_HELLO, remote, detail=str(exc))
            return
        check = self._hellos.check(hello, remote, now)
        if check is HelloCheck.NO_COOKIE:
            self._ask_for_cookie(hello, remote, now)
        elif check is HelloCheck.SILENCED:
            self.silenced += 1
        elif check is HelloCheck.UNSUPPORTED_VERSION:  # at once: a client of DTLS 1.3 would not return with a cookie
            self._transmit([alert(Alert.PROTOCOL_VERSION, sequence=hello.sequence)], remote)
            self._refusals.of_hello(ClientRejectedReason.UNSUPPORTED_VERSION, remote, offered=hello.offered_versions)
        elif not self._is_copy(hello, remote):
            self._begin(hello, datagram, remote, now)

    def _ask_for_cookie(self, hello: ClientHello, remote: Remote, now: float) -> None:
        self.hellos += 1
        self._transmit([hello_verify_request(hello, self._hellos.cookie(remote, now))], remote)

    def _is_copy(self, hello: ClientHello, remote: Remote) -> bool:
        """Return whether a hello repeats an accepted one, which the engine's retransmissions answer."""
        handshake, session = self._handshakes.at(remote), self._sessions.at(remote)
        return hello.random in (handshake and handshake.hello.random, session and session.random)

    def _begin(self, hello: ClientHello, datagram: bytes, remote: Remote, now: float) -> None:
        if self._hellos.is_silenced(remote[0], now):
            self.silenced += 1
            if self._silences.admits(remote[0], now):
                most = self._config.failures_per_minute
                detail = f"dtls.failures_per_minute is {most}: no answer to this address now"
                self._refusals.of_hello(ClientRejectedReason.SERVER_BUSY, remote, detail=detail, is_proven=True)
            return
        if self._is_full(remote):
            return
        earlier = self._handshakes.at(remote)
        if earlier is not None:  # the client began anew, as after a reboot
            self._remove(earlier)
        for evicted, limit in self._handshakes.make_room(remote):
            self._give_up(evicted, ClientRejectedReason.SERVER_BUSY, limit)
        self.begun += 1
        began = self._loop.time()
        client = Client(self._identification)
        offer = (remote[0], hash(hello.suite_octets)) if self._engine.offers_both(hello) else None
        certificates = offer is not None and self._suites.begin(offer, now)
        engine, events = self._engine.accept(datagram, hello, client, prefer_certificates=certificates)
        handshake = Handshake(remote, hello, client, engine, began, offer, prefers_certificates=certificates)
        self._handshakes.add(handshake)
        flight = engine.take()
        handshake.answer = flight[0][:_SERVER_HELLO] if flight else b""
        self._transmit(flight, remote)
        self._take_handshake_events(handshake, events)
        if handshake in self._handshakes:
            self._handshakes.schedule(handshake, self._loop.time())
            self._arm()
            # The client names itself in its next flight. Then it is too late to ask: the engine cannot wait.
            if self._identification.questions.hold(partial(self._resume, handshake), host=None, octets=0):
                handshake.held = []

    def _resume(self, handshake: Handshake) -> None:
        """Process the datagrams that came while the registry was asked."""
        held, handshake.held = handshake.held or (), None
        if handshake in self._handshakes:
            for datagram in held:
                self._route(datagram, handshake.remote)

    def _is_full(self, remote: Remote, handshake: Handshake | None = None) -> bool:
        """Return whether a session at this address would exceed the limit; if so, publish that."""
        if len(self._sessions) < self._config.sessions or self._sessions.at(remote) is not None:
            return False
        detail = f"dtls.sessions is {self._config.sessions}"
        if handshake is None:
            self._refusals.of_hello(ClientRejectedReason.SERVER_BUSY, remote, detail=detail, is_proven=True)
        else:
            self._refusals.of_handshake(ClientRejectedReason.SERVER_BUSY, handshake, detail=detail)
        return True

    # ---- handshakes -------------------------------------------------------------------------------

    def _feed_handshake(self, handshake: Handshake, datagram: bytes) -> None:
        self._handshakes.refresh(handshake)
        if handshake.holds(datagram):
            return
        events = handshake.engine.feed(datagram)
        self._transmit(handshake.engine.take(), handshake.remote)
        self._take_handshake_events(handshake, events)

    def _take_handshake_events(self, handshake: Handshake, events: Iterable[Event]) -> None:
        session = None
        for event in events:
            if isinstance(event, Established):
                session = self._establish(handshake, event)
            elif isinstance(event, Failed):
                self._fail(handshake, event)
            elif session is not None:
                self._take_event(session, event)

    def _establish(self, handshake: Handshake, event: Established) -> DtlsSession | None:
        """Open the session of a client that has proven its identity, if its device is still admitted."""
        self._handshakes.remove(handshake)
        client, remote, engine = handshake.client, handshake.remote, handshake.engine
        admitted = client.is_admitted(event.certificate, event.psk_identity)
        if not admitted or self._is_full(remote, handshake):  # many handshakes may end together
            engine.close()
            self._transmit(engine.take(), remote)
            if not admitted:
                self._fail(handshake, Failed(Failure.CERTIFICATE_REFUSED, "", event.certificate, event.psk_identity))
            return None
        assert client.device is not None, "an admitted client is a device"
        now, offer, seconds = self._clock.monotonic(), handshake.offer, self._loop.time() - handshake.began
        session = DtlsSession(remote, engine, handshake.hello.random, self._send, now, offer)
        if offer is not None:
            self._suites.proven(offer, now, certificates=handshake.prefers_certificates)
            self._suites.opened(offer)
        earlier = self._sessions.at(remote)
        if earlier is not None:  # the client has lost its keys, and could not read a close_notify
            self._drop(earlier, DisconnectReason.REPLACED)
            self._reception.sessions.disconnected(earlier.fleet, DisconnectReason.REPLACED)
        self._make_room(client.device)
        self.completed += 1
        self._handshakes.durations.observe(seconds)
        session.fleet = self._reception.sessions.connected(
            client.device,
            remote,
            transport=self._transport,
            cipher=event.cipher,
            handshake_ms=round(seconds * 1000),
            retransmissions=engine.retransmissions,
            certificate_serial=None if event.certificate is None else event.certificate.serial_number,
            close=lambda reason: self._close(session, reason),
        )
        self._sessions.add(session)
        session.log_opened(event.cipher)
        record = None if event.certificate is None else self._identification.record_of(event.certificate)
        if record is not None:
            self._used(record)
        return session

    def _make_room(self, device: Device) -> None:
        """End the most silent session of a device that comes from ever new ports, so that others find room."""
        limit, own = self._config.sessions_per_device, self._sessions.of_device(device)
        if len(own) >= limit:
            silent = min(own, key=lambda each: each.fleet.last_seen)
            self._close(silent, DisconnectReason.REPLACED)
            detail = f"dtls.sessions_per_device is {limit}"
            self._reception.sessions.disconnected(silent.fleet, DisconnectReason.REPLACED, detail=detail)

    def _fail(self, handshake: Handshake, failed: Failed) -> None:
        """End a handshake that failed."""
        self._remove(handshake, failed)
        self._hellos.failed(handshake.remote[0], self._clock.monotonic())
        self._refusals.of_failure(handshake, failed)

    def _give_up(self, handshake: Handshake, reason: ClientRejectedReason, detail: str | None = None) -> None:
        """End a handshake that lasts too long, or that was evicted."""
        self._remove(handshake)
        engine = handshake.engine
        self._refusals.of_handshake(
            reason,
            handshake,
            detail=detail,
            stage=engine.stage,
            retransmissions=engine.retransmissions,
            seconds=int(self._loop.time() - handshake.began),
        )
        engine.abort(Alert.USER_CANCELED)
        self._transmit(engine.take(), handshake.remote)

    def _remove(self, handshake: Handshake, failed: Failed | None = None) -> None:
        """Remove a handshake without a session, and remember whether its client had credentials of the chosen kind."""
        self._handshakes.remove(handshake)
        if handshake.offer is None:
            return
        now, client = self._clock.monotonic(), handshake.client
        if client.is_known or (failed is not None and failed.certificate is not None):
            self._suites.proven(handshake.offer, now, certificates=handshake.prefers_certificates)
        else:
            self._suites.failed(handshake.offer, now, certificates=handshake.prefers_certificates)

    def _arm(self) -> None:
        """Set the timer to the earliest deadline; a timer that is set to an earlier moment stays."""
        deadline = self._handshakes.deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = self._loop.call_at(deadline, self._tick), deadline

    def _tick(self) -> None:
        self._timer = None
        due = deque(self._handshakes.take_due(self._loop.time()))
        try:
            while due:
                self._expire(due.popleft())
        finally:  # a defect in one handshake must not leave the others without a deadline
            for handshake in due:
                self._handshakes.schedule(handshake, self._loop.time())
            self._arm()

    def _expire(self, handshake: Handshake) -> None:
        """End a handshake that lasts too long; otherwise let the engine send its last flight again."""
        if handshake not in self._handshakes:
            return
        if self._handshakes.is_late(handshake, self._loop.time()):
            self._give_up(handshake, ClientRejectedReason.HANDSHAKE_TIMEOUT)
            return
        events = handshake.engine.expire()
        self._transmit(handshake.engine.take(), handshake.remote)
        self._take_handshake_events(handshake, events)
        if handshake in self._handshakes:
            self._handshakes.schedule(handshake, self._loop.time())

    # ---- sessions ---------------------------------------------------------------------------------

    def _feed(self, session: DtlsSession, datagram: bytes) -> None:
        events = session.engine.feed(datagram)
        if datagram[0] == _APPLICATION_DATA:
            if not events:
                self._strays.unreadable(datagram, session)
            elif (number := datagram[NUMBER]) > session.newest:
                session.newest = number
        for event in events:
            self._take_event(session, event)
        if self._sessions.at(session.remote) is session:
            self._transmit(session.engine.take(), session.remote)

    def _take_event(self, session: DtlsSession, event: Event) -> None:
        if self._sessions.at(session.remote) is not session:
            return  # the event before this one has ended it
        if isinstance(event, Data):
            session.note_received()
            self._deliver(session, event.payload)
        elif isinstance(event, Closed):
            self._transmit(session.engine.take(), session.remote)
            reason = _REASONS[event.end]
            self._drop(session, reason)
            self._reception.sessions.disconnected(session.fleet, reason, detail=event.detail or None)

    def _close(self, session: DtlsSession, reason: DisconnectReason) -> None:
        """End a session from our side."""
        session.engine.close()
        self._transmit(session.engine.take(), session.remote)
        self._drop(session, reason)

    def _drop(self, session: DtlsSession, reason: DisconnectReason) -> None:
        if session not in self._sessions:
            return
        now = self._clock.monotonic()
        self._sessions.remove(session, reason, now)
        if session.offer is not None:
            self._suites.closed(session.offer)
        session.is_over = True
        session.fleet.close = None  # it refers to this server: without it, OpenSSL's memory is freed at once
        session.log_closed(reason, now)
        self._ended(session)

    def _take_stray(self, datagram: bytes, remote: Remote) -> None:
        """Publish application data that has no session; late alerts and handshake records are only counted."""
        self.stray += 1
        if datagram[0] in (ContentType.APPLICATION_DATA, ContentType.CONNECTION_ID):
            self._strays.without_session(datagram, remote)

    # ---- parts ------------------------------------------------------------------------------------

    def _transmit(self, datagrams: Iterable[bytes], remote: Remote) -> None:
        """Send the datagrams of a handshake or an alert; the engine's timers replace lost flights."""
        try:
            for datagram in datagrams:
                self._send(datagram, remote)
        except OSError:
            self.unsent += 1
