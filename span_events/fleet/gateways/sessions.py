"""
Sessions of gateways: their start, their messages, their end, and the rejections before a start.

Each public method handles one incident: it changes the state and publishes the events. No method awaits
or raises. `downlink` holds the order of messages to gateways, and the updates caused by the API.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Final

from span_events.bounded.expiring import ExpiringMap
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import GatewaysConfig, RejectionsConfig
from span_events.events.activity import Moment
from span_events.events.catalogue import (
    GatewayCommError,
    GatewayConnected,
    GatewayDisconnected,
    GatewayRejected,
)
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.gateways.downlink import Downlink
from span_events.fleet.gateways.session import GatewaySession, Link, SessionState
from span_events.fleet.gateways.uplink import Uplink
from span_events.fleet.summaries import OTHERS, Summaries
from span_events.ids import render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote, render_remote
from span_events.proto import gateway_pb2 as pb
from span_events.registry.directory import Directory
from span_events.registry.model import Certificate, Collection, Gateway

__all__ = ["GatewaySession", "GatewaySessions", "Link"]

log = get_logger("gateways")

_DAY: Final = 86_400.0
_REPLACEMENTS: Final = 3
_REPLACED_WITHIN: Final = 60.0
"""
More replacements than `_REPLACEMENTS` in so many seconds mean a copied certificate: the kernel of a program that was
restarted closes its connection, so that nothing is replaced.
"""


class GatewaySessions:
    """
    Sessions of the connected gateways; a gateway has at most one, and its newest connection replaces the older one.

    Args:
        used: Called with each certificate with which a gateway connects.
    """

    def __init__(
        self,
        config: GatewaysConfig,
        rejections: RejectionsConfig,
        *,
        bus: Bus,
        directory: Directory,
        reception: Reception,
        outbox: Outbox,
        used: Callable[[Certificate], None],
        clock: Clock,
    ) -> None:
        self._silent_after = config.silent_after
        self._bus = bus
        self._directory = directory
        self._reception = reception
        self._used = used
        self._clock = clock
        self._sessions: dict[int, GatewaySession] = {}
        self._begun: dict[int, int] = {}
        """Sessions that other nodes do not know of, by gateway."""
        self._replacements: dict[int, deque[float]] = {}
        # Two, so that a flood of unidentified clients does not hide warnings about connected gateways.
        self._rejections = Summaries(
            bus=bus,
            clock=clock,
            burst=rejections.burst,
            window=rejections.window,
            senders=rejections.senders,
            others={"detail": OTHERS},
        )
        self._warnings = Summaries(
            bus=bus,
            clock=clock,
            burst=1,
            window=rejections.window,
            senders=rejections.senders,
            others={"error": OTHERS, "device": None},
        )
        self._checks: ExpiringMap[str, GatewayRejectedReason] = ExpiringMap(limit=rejections.senders, lifetime=_DAY)
        self.rejections_by_reason: Counter[str] = Counter()
        """Number of rejected gateways, published or not."""
        self.downlink = Downlink(bus=bus, directory=directory, outbox=outbox, sessions=self._sessions)
        """Sends configuration and downstream messages."""
        self._uplink = Uplink(
            bus=bus,
            directory=directory,
            reception=reception,
            downlink=self.downlink,
            warnings=self._warnings,
            clock=clock,
        )

    def __len__(self) -> int:
        return len(self._sessions)

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric("gateways_online", "Gateways that are connected.", "gauge", lambda: len(self)),
            Metric(
                "gateway_rejections",
                "Gateways that were not let in.",
                "counter",
                lambda: self.rejections_by_reason,
                label="reason",
            ),
            Metric(
                "gateway_troubles_untold",
                "Rejections and warnings in no event, because rejections.senders was reached.",
                "counter",
                lambda: self._rejections.unpublished + self._warnings.unpublished,
            ),
        ]

    # ---- calls by the listener ----------------------------------------------------------------

    def opened(
        self,
        gateway: Gateway,
        *,
        remote: Remote,
        certificate_serial: int,
        link: Link,
        tls_version: str,
        user_agent: str,
    ) -> GatewaySession:
        """Start a session; an older session of the same gateway ends."""
        now, time_ns = self._clock.monotonic(), self._clock.time_ns()
        older = self._sessions.get(gateway.id)
        if older is not None:
            self._end(older, GatewayReason.REPLACED)
        session = GatewaySession(
            self._bus.new_id(time_ns), gateway, remote, certificate_serial, link, began=now, last_message=now
        )
        self._sessions[gateway.id] = session
        self._begun[gateway.id] = session.id
        gateway.is_online = True
        record = self._directory.certificate_with(certificate_serial)
        self._bus.publish(
            GatewayConnected(
                origin=gateway.origin,
                session_id=session.id,
                remote_address=render_remote(remote),
                certificate_serial=str(certificate_serial),
                not_after=None if record is None else Moment(record.not_after_ms),
                tls_version=tls_version or None,
                user_agent=user_agent or None,
                replaced=None if older is None else "true",
            )
        )
        log.info(
            "gateway_session_started",
            gateway=render(gateway.id),
            session=render(session.id),
            remote=render_remote(remote),
            tls=tls_version,
        )
        if record is not None:
            self._used(record)
        if older is not None:
            self._count_replacement(session, render_remote(older.remote), render_remote(session.remote))
        return session

    def conflict(self, gateway: Gateway) -> str:
        """
        Return why a connected gateway must not be replaced now; empty if it may be.

        Two programs with one certificate would otherwise replace each other for ever, each with four events a turn.
        """
        session = self._sessions.get(gateway.id)
        if session is None or not self._is_contested(gateway.id, self._clock.monotonic()):
            return ""
        return f"{render_remote(session.remote)} is connected with it, and was replaced too often in this minute"

    def received(self, session: GatewaySession, message: pb.ControlStreamRequest) -> None:
        """Process a message from a gateway."""
        if session.is_over:
            return
        session.messages_up += 1
        session.last_message = self._clock.monotonic()
        session.is_silent = False
        self._uplink.take(session, message)

    def flushed(self, session: GatewaySession) -> None:
        """Publish the messages that have left to a gateway, and send the next ones."""
        self.downlink.feed(session)

    def ended(
        self, session: GatewaySession, reason: GatewayReason, *, detail: str = "", seconds: int | None = None
    ) -> None:
        """
        End the session of a control stream that is over; has no effect on an ended session.

        Args:
            seconds: Length of the silence that ended the stream.
        """
        if not session.is_over:
            self._close(session, reason, detail=detail, seconds=seconds)

    # ---- changes by the API -------------------------------------------------------------------

    def end_session(self, gateway: Gateway, reason: GatewayReason, *, cause: int | None = None) -> None:
        """Disconnect a gateway, if it is connected."""
        session = self._sessions.get(gateway.id)
        if session is not None:
            self._end(session, reason, cause)

    def collection_updated(self, collection: Collection, change: CollectionChange, cause: int) -> None:
        """Disconnect the gateways of a collection that was disabled."""
        if change.enabled is not False:
            return
        for session in [each for each in self._sessions.values() if each.gateway.collection is collection]:
            self._end(session, GatewayReason.GATEWAY_DISABLED, cause)

    def take_changed(self) -> set[Gateway]:
        """Return the gateways that reported metadata about themselves since the last call."""
        changed, self._uplink.changed = self._uplink.changed, set()
        return changed

    def take_begun(self) -> dict[int, int]:
        """Return the sessions that began since the last call, by gateway."""
        begun, self._begun = self._begun, {}
        return begun

    def put_back(self, changed: set[Gateway], begun: dict[int, int]) -> None:
        """Keep gateways and sessions for the next call, because the store could not write them."""
        self._uplink.changed |= changed
        self._begun = begun | self._begun

    # ---- changes by other nodes ---------------------------------------------------------------

    def began_elsewhere(self, gateway_id: int, session_id: int) -> None:
        """
        End the session of a gateway that began a newer one at another node: its connection may be half open.

        Of two programs with one certificate, each at a node, both stay after some replacements, and a warning says so.
        """
        session = self._sessions.get(gateway_id)
        if session is None or session.id > session_id:
            return
        self._count_replacement(session, render_remote(session.remote), "another node")
        if not self._is_contested(gateway_id, self._clock.monotonic()):
            self._end(session, GatewayReason.REPLACED)

    def certificate_revoked(self, serial: int) -> None:
        """End the session that uses a revoked certificate."""
        for session in [each for each in self._sessions.values() if each.certificate_serial == serial]:
            self._end(session, GatewayReason.CERTIFICATE_REVOKED)

    # ---- deadlines ----------------------------------------------------------------------------

    def rejected(self, event: GatewayRejected) -> None:
        """Publish a rejected gateway, or count it in the summary of its host, owner and cause."""
        reason = event.reason.value
        self.rejections_by_reason[reason] += 1
        host = event.remote_address.rpartition(":")[0]
        if event.reason is GatewayRejectedReason.PORT_CHECK:
            now = self._clock.monotonic()
            if self._checks.get(host, now) is None:
                self._checks.put(host, event.reason, now)
                self._bus.publish(event)
            return
        self._rejections.publish(event, host, reason, (event.detail, event.certificate_serial))

    def sweep(self) -> None:
        """Check expired certificates and silence, and publish summaries; called about once a second."""
        now, now_ms = self._clock.monotonic(), self._clock.time_ns() // 1_000_000
        for session in list(self._sessions.values()):
            record = self._directory.certificate_with(session.certificate_serial)
            silence = now - session.last_message
            if record is not None and record.not_after_ms <= now_ms:
                self._end(session, GatewayReason.CERTIFICATE_EXPIRED)
                continue
            if silence >= self._silent_after and not session.is_silent:
                session.is_silent = True
                text = f"nothing came from the gateway's program for {int(silence)} s"
                self._uplink.warn(session, GatewayReason.APPLICATION_SILENT, text, seconds=int(silence))
            if session.asks_again:
                self._uplink.configure(session)
            self.downlink.feed(session)  # a link that was full may have room
        self._rejections.sweep()
        self._warnings.sweep()
        for gateway_id in [each for each, seen in self._replacements.items() if seen[-1] < now - _REPLACED_WITHIN]:
            del self._replacements[gateway_id]

    # ---- parts --------------------------------------------------------------------------------

    def _end(self, session: GatewaySession, reason: GatewayReason, cause: int | None = None) -> None:
        self._close(session, reason, cause=cause)
        session.link.end(reason)

    def _close(
        self,
        session: GatewaySession,
        reason: GatewayReason,
        *,
        detail: str = "",
        seconds: int | None = None,
        cause: int | None = None,
    ) -> None:
        session.move(SessionState.OVER)
        gateway = session.gateway
        del self._sessions[gateway.id]
        gateway.is_online = False
        if not reason.is_orderly:
            self._bus.publish(
                GatewayCommError(
                    origin=gateway.origin,
                    session_id=session.id,
                    error=detail or reason.value,
                    reason=reason,
                    seconds=seconds,
                )
            )
        duration = int(self._clock.monotonic() - session.began)
        self._bus.publish(
            GatewayDisconnected(
                origin=gateway.origin,
                correlation_id=cause,
                session_id=session.id,
                reason=reason,
                detail=detail or None,
                duration=duration,
                messages_up=session.messages_up,
                messages_down=session.messages_down,
                undelivered=session.link.waiting,
            )
        )
        log.info(
            "gateway_session_ended",
            gateway=render(gateway.id),
            session=render(session.id),
            remote=render_remote(session.remote),
            reason=reason.value,
            detail=detail,
            ended_by=reason.ended_by,
            seconds=duration,
            messages_up=session.messages_up,
            messages_down=session.messages_down,
            undelivered=session.link.waiting,
        )
        self.downlink.ended(session)

    def _count_replacement(self, session: GatewaySession, *places: str) -> None:
        """Warn when two programs with one certificate replace each other."""
        now = self._clock.monotonic()
        seen = self._replacements.setdefault(session.gateway.id, deque(maxlen=_REPLACEMENTS + 1))
        seen.append(now)
        if self._is_contested(session.gateway.id, now):
            text = f"connections from {' and '.join(places)} replace each other"
            self._uplink.warn(session, GatewayReason.IDENTITY_CONFLICT, text, cause="")

    def _is_contested(self, gateway_id: int, now: float) -> bool:
        """Return whether two programs use the certificate of a gateway."""
        seen = self._replacements.get(gateway_id, ())
        return len([when for when in seen if when >= now - _REPLACED_WITHIN]) > _REPLACEMENTS
