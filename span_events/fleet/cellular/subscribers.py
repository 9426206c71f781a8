"""Subscribers: finds the device of a SIM and its hardware, and publishes mismatches and rejections."""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import Origin
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.match import Match, Mismatch, decide
from span_events.fleet.cellular.refusals import Refusals
from span_events.fleet.cellular.report import MobileReport, Refused
from span_events.fleet.devices.inbound import Reception
from span_events.metrics import Metric
from span_events.net import Remote
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
        self._refusals = Refusals(config, rejections, bus=bus)

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
        """Publish a mismatch, once in a while for the same numbers."""
        device = self._directory.devices[mismatch.origin.device_id or 0]
        now = self._clock.monotonic()
        self._refusals.mismatch(mismatch, episode=device.traffic.attachments, now=now, cause=cause)

    def refuse(self, reason: CiotRejectedReason, report: MobileReport, origin: Origin, cause: int) -> Refused:
        """Publish the rejection of a subscriber, once in a while for the same numbers."""
        self._refusals.rejected(
            reason,
            nas=report.nas,
            imsi=report.imsi,
            imei=report.imei,
            now=self._clock.monotonic(),
            cause=cause,
            origin=origin,
        )
        return Refused(reason)

    def refuse_request(self, reason: CiotRejectedReason, *, nas: str, remote: Remote, cause: int) -> None:
        """Publish the rejection of a request that no NAS is proven to have sent."""
        self._refusals.rejected(reason, nas=nas, remote=remote, now=self._clock.monotonic(), cause=cause)

    def sweep(self) -> None:
        """Publish summaries of repeated rejections; called about once a second."""
        self._refusals.sweep(self._clock.monotonic())

    def metrics(self) -> list[Metric]:
        """List the metrics of rejections."""
        return self._refusals.metrics()
