"""Subscribers: finds the device of a SIM and its hardware, and publishes mismatches and rejections."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable
from operator import attrgetter
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import CiotRejected
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.match import Match, Mismatch, decide
from span_events.fleet.cellular.report import MobileReport, Refused
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.summaries import Summaries
from span_events.metrics import Metric
from span_events.net import Remote, render_remote
from span_events.registry.directory import Directory
from span_events.registry.model import Device

_stored_keys: Final = attrgetter("last_imsi", "last_imei", "cell_id", "mcc", "mnc")
"""Fields of a device whose change is written to the registry."""


class Subscribers:
    """The devices of the registry as subscribers of the mobile network."""

    def __init__(
        self,
        config: CellularConfig,
        *,
        rejections: RejectionsConfig,
        bus: Bus,
        directory: Directory,
        reception: Reception,
        clock: Clock,
    ) -> None:
        self._directory = directory
        self._reception = reception
        self._clock = clock
        self._mismatches = Summaries(
            bus=bus, clock=clock, burst=1, window=config.mismatch_window, senders=config.subscribers
        )
        # One for each reason, so that a flood of one does not hide another.
        self._rejections = {
            reason: Summaries(
                bus=bus,
                clock=clock,
                burst=1,
                window=rejections.window,
                senders=config.subscribers,
                per_second=config.rejections_per_second,
            )
            for reason in CiotRejectedReason
        }
        self._summaries = [self._mismatches, *self._rejections.values()]
        self._counts: Counter[str] = Counter()

    def match(self, imsi: str, imei: str) -> Match:
        """Find the device with an IMSI and an IMEI, and the devices whose numbers contradict them."""
        directory = self._directory
        return decide(imsi, imei, of_imsi=directory.device_with_imsi(imsi), of_imei=directory.device_with_imei(imei))

    def update(self, device: Device, report: MobileReport) -> None:
        """Set numbers and location of a device; the time of the report alone is no reason to write the device."""
        ciot = device.ciot
        before = _stored_keys(ciot)
        ciot.last_update = self._clock.time_ns() // 1_000_000
        ciot.last_imsi = report.imsi or ciot.last_imsi
        ciot.last_imei = report.imei or ciot.last_imei
        ciot.cell_id = report.cell_id or ciot.cell_id
        if report.mcc:
            ciot.mcc, ciot.mnc = report.mcc, int(report.mnc or 0)
            ciot.network = report.network
            ciot.country, ciot.country_code = report.country, report.country_code
        if _stored_keys(ciot) != before:
            self._reception.changed(device)

    def publish_faults(self, match: Match, report: MobileReport, cause: int) -> None:
        """Publish the mismatches and the rejection of a match."""
        for mismatch in match.mismatches:
            self.publish_mismatch(mismatch, cause)
        if match.rejected is not None:
            self.refuse(match.rejected, report, match.origin, cause)

    def publish_mismatch(self, mismatch: Mismatch, cause: int) -> None:
        """
        Publish a mismatch, once in a while for the same numbers.

        A correct attachment in between, or an edit of the device's numbers, publishes the same mismatch again.
        """
        self._counts[mismatch.name] += 1
        device = self._directory.devices[mismatch.origin.device_id or 0]
        expected = [getattr(mismatch, name, "") for name in ("expected_imsi", "expected_imei")]
        numbers = (device.traffic.attachments, mismatch.imsi, mismatch.imei, *expected)
        event = dataclasses.replace(mismatch, correlation_id=cause)
        self._mismatches.publish(event, device.id, mismatch.name, numbers)

    def refuse(self, reason: CiotRejectedReason, report: MobileReport, origin: Origin, cause: int) -> Refused:
        """Publish the rejection of a subscriber, once in a while for the same numbers."""
        event = CiotRejected(
            origin=origin,
            correlation_id=cause,
            reason=reason,
            nas=report.nas,
            imsi=report.imsi or None,
            imei=report.imei or None,
        )
        self._publish_rejection(event, (report.nas, report.imsi, report.imei))
        return Refused(reason)

    def refuse_request(self, reason: CiotRejectedReason, *, nas: str, remote: Remote, cause: int) -> None:
        """Publish the rejection of a request that no NAS is proven to have sent: its IMSI and IMEI prove nothing."""
        event = CiotRejected(
            origin=UNATTRIBUTED, correlation_id=cause, reason=reason, nas=nas, remote_address=render_remote(remote)
        )
        self._publish_rejection(event, nas)

    def sweep(self) -> None:
        """Publish summaries of repeated rejections; called about once a second."""
        for summaries in self._summaries:
            summaries.sweep()

    def metrics(self) -> list[Metric]:
        """List the metrics of mismatches and rejections."""
        return [
            Metric(
                "cellular_refusals",
                "Mismatches and rejections of attach requests, published or not.",
                "counter",
                lambda: self._counts,
                label="reason",
            ),
            Metric(
                "cellular_refusals_watched",
                "Subscribers with a recent refusal; at most cellular.subscribers for each reason.",
                "gauge",
                lambda: sum(len(each) for each in self._summaries),
            ),
            Metric(
                "cellular_refusals_untold",
                "Mismatches and rejections in no event, because a limit of [cellular] was reached.",
                "counter",
                lambda: sum(each.unpublished for each in self._summaries),
            ),
        ]

    def _publish_rejection(self, event: CiotRejected, subscriber: Hashable) -> None:
        self._counts[event.reason.value] += 1
        self._rejections[event.reason].publish(event, subscriber, event.reason.value)
