"""Troubles of gateways that end no session: rejected connections, and warnings of connected gateways."""

from __future__ import annotations

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import RejectionsConfig
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import GatewayCommError, GatewayRejected
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.gateways.session import GatewaySession
from span_events.fleet.throttle import Throttle
from span_events.net import Remote, render_remote


class Troubles:
    """
    Publishes each trouble at once, and its repetitions once per window with a count.

    Rejections are published one by one up to a burst; warnings once, as repetitions add nothing new.
    """

    def __init__(self, config: RejectionsConfig, *, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        # Two throttles, so that a flood of unidentified clients does not hide warnings about connected gateways.
        self._rejected_clients = Throttle(burst=config.burst, seconds=config.window, keys=config.senders)
        self._warnings = Throttle(burst=1, seconds=config.window, keys=config.senders)
        self.rejections: dict[str, int] = {}
        """Number of rejected gateways by reason, published or not."""

    @property
    def untold(self) -> int:
        """Number of troubles in no event, because rejections.senders was reached."""
        return self._rejected_clients.untold + self._warnings.untold

    def rejected(
        self,
        reason: GatewayRejectedReason,
        *,
        remote: Remote,
        origin: Origin = UNATTRIBUTED,
        detail: str | None = None,
        stage: str | None = None,
        certificate_serial: str | None = None,
        certificate_subject: str | None = None,
        certificate_issuer: str | None = None,
        not_before: str | None = None,
        not_after: str | None = None,
        tls_version: str | None = None,
        seconds: int | None = None,
    ) -> None:
        """
        Publish a rejected gateway (throttled per host, owner and reason).

        Args:
            origin: Proven owner of the event: a gateway, a device, a collection, or `UNATTRIBUTED`.
        """
        self.rejections[reason.value] = self.rejections.get(reason.value, 0) + 1
        key = (remote[0], origin, reason.value)
        if not self._rejected_clients.admits(key, self._clock.monotonic()):
            return
        event = GatewayRejected(
            origin=origin,
            reason=reason,
            remote_address=render_remote(remote),
            certificate_serial=certificate_serial,
            certificate_subject=certificate_subject,
            certificate_issuer=certificate_issuer,
            not_before=not_before,
            not_after=not_after,
            tls_version=tls_version,
            detail=detail,
            stage=stage,
            seconds=seconds,
        )
        self._rejected_clients.remember(key, event)
        self._bus.publish(event)

    def warn(
        self,
        session: GatewaySession,
        reason: GatewayReason,
        error: str,
        *,
        device: str | None = None,
        device_id: int | None = None,
        seconds: int | None = None,
    ) -> None:
        """
        Publish a warning about a gateway whose stream continues (throttled per gateway, device and reason).

        Args:
            device: Device as named by the gateway.
            device_id: Id of that device, if it belongs to the gateway's collection.
        """
        key = (session.gateway.id, reason.value, device_id)
        if not self._warnings.admits(key, self._clock.monotonic()):
            return
        event = GatewayCommError(
            origin=session.gateway.origin,
            session_id=session.id,
            error=error,
            reason=reason,
            seconds=seconds,
            device=device,
        )
        self._warnings.remember(key, event)
        self._bus.publish(event)

    def sweep(self, now: float) -> None:
        """Publish the summaries of expired windows; ``now`` is monotonic seconds."""
        for event in self._rejected_clients.summaries(now) + self._warnings.summaries(now):
            self._bus.publish(event)
