"""Refusals of the mobile network: publishes mismatches and rejected requests once, then as summaries."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable
from typing import Final

from span_events.bus.base import Bus
from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import CiotRejected
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.match import Mismatch
from span_events.fleet.throttle import Throttle
from span_events.metrics import Metric
from span_events.net import Remote, render_remote

_UNPROVEN: Final = frozenset(
    (CiotRejectedReason.BAD_SECRET, CiotRejectedReason.MISSING_AUTHENTICATOR, CiotRejectedReason.UNKNOWN_NAS)
)
"""Reasons of unauthenticated requests: any host can send them, so their IMSI and IMEI prove nothing."""


_PAIRS: Final = 20
"""Upper bound of published mismatches per device and window, as hardware may report any IMEI."""


class _Limits:
    """Limits of one reason; separate, so that a flood of one reason does not hide another."""

    def __init__(self, config: CellularConfig, window: float) -> None:
        self.throttle = Throttle(burst=1, seconds=window, keys=config.subscribers)
        self.pace = Throttle(burst=config.rejections_per_second, seconds=1.0, keys=1)


class Refusals:
    """Publishes mismatches and rejections of attach requests as events."""

    def __init__(self, config: CellularConfig, rejections: RejectionsConfig, *, bus: Bus) -> None:
        self._bus = bus
        self._mismatches = Throttle(burst=1, seconds=config.mismatch_window, keys=config.subscribers)
        self._pairs = Throttle(burst=_PAIRS, seconds=config.mismatch_window, keys=config.subscribers)
        self._limits = {reason: _Limits(config, rejections.window) for reason in CiotRejectedReason}
        self._throttles = [self._mismatches, *(each.throttle for each in self._limits.values())]
        self._too_fast = 0
        self._counts: Counter[str] = Counter()

    def mismatch(self, event: Mismatch, *, episode: int, now: float, cause: int) -> None:
        """
        Publish a device that attached with another SIM, or other hardware, than configured.

        Args:
            episode: Number of correct attachments so far; a new number publishes the same mismatch again.
            now: Monotonic seconds.
        """
        self._counts[event.name] += 1
        key = _key_of(event, episode)
        if not self._mismatches.admits(key, now):
            return
        if not self._pairs.admits(event.origin.device_id, now):
            self._mismatches.forget(key)
            self._too_fast += 1
            return
        self._mismatches.remember(key, event)
        self._bus.publish(dataclasses.replace(event, correlation_id=cause))

    def rejected(
        self,
        reason: CiotRejectedReason,
        *,
        nas: str,
        imsi: str = "",
        imei: str = "",
        remote: Remote | None = None,
        now: float,
        cause: int,
        origin: Origin = UNATTRIBUTED,
    ) -> None:
        """Publish a rejected request; ``remote`` is its sender, if the listener itself rejected it."""
        self._counts[reason.value] += 1
        throttle, pace = self._limits[reason].throttle, self._limits[reason].pace
        key = (nas,) if reason in _UNPROVEN else (nas, imsi, imei)
        if not throttle.admits(key, now):
            return
        if not pace.admits(reason, now):
            throttle.forget(key)
            self._too_fast += 1
            return
        event = CiotRejected(
            origin=origin,
            correlation_id=cause,
            reason=reason,
            nas=nas,
            remote_address=render_remote(remote) if remote else None,
            imsi=imsi or None,
            imei=imei or None,
        )
        throttle.remember(key, event)
        self._bus.publish(event)

    def sweep(self, now: float) -> None:
        """Publish the summaries of expired windows; called about once a second."""
        for pace in (self._pairs, *(each.pace for each in self._limits.values())):
            pace.summaries(now)
        for throttle in self._throttles:
            for event in throttle.summaries(now):
                self._bus.publish(event)

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        return [
            Metric(
                "cellular_refusals",
                "Mismatches and rejections of those who attach, told or not.",
                "counter",
                lambda: self._counts,
                label="reason",
            ),
            Metric(
                "cellular_refusals_watched",
                "Those who were refused and are watched; at most cellular.subscribers for each reason.",
                "gauge",
                lambda: sum(len(each) for each in self._throttles),
            ),
            Metric(
                "cellular_refusals_untold",
                "Mismatches and rejections in no event, because a limit of [cellular] was reached.",
                "counter",
                lambda: self._too_fast + sum(each.untold for each in self._throttles),
            ),
        ]


def _key_of(event: Mismatch, episode: int) -> Hashable:
    """Return the key of a mismatch; the expected numbers are part of it, so that an edit publishes it again."""
    expected = [getattr(event, name, "") for name in ("expected_imsi", "expected_imei")]
    return event.name, event.origin.device_id, episode, event.imsi, event.imei, *expected
