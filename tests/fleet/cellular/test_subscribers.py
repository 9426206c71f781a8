"""Refusals of subscribers: published once for the same numbers, then as counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from span_events.config import CellularConfig, RejectionsConfig
from span_events.events.activity import UNATTRIBUTED
from span_events.events.catalogue import ImsiMismatch
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.report import MobileReport
from span_events.fleet.cellular.subscribers import Subscribers
from span_events.fleet.summaries import KINDS
from span_events.registry.model import Device
from tests.bench.fleets import CAUSE, FleetBench

UNKNOWN = CiotRejectedReason.UNKNOWN_DEVICE


class Bench:
    """The subscribers of a fleet, with small limits."""

    def __init__(self, fleet: FleetBench, subscribers: int = 3) -> None:
        self.fleet = fleet
        self.subscribers = Subscribers(
            CellularConfig(mismatch_window=3600.0, subscribers=subscribers, rejections_per_second=2),
            rejections=RejectionsConfig(window=60.0),
            bus=fleet.bus,
            directory=fleet.directory,
            reception=fleet.reception,
            clock=fleet.clock,
        )

    def mismatch(self, device: Device, imsi: str = "24201", expected: str = "24209") -> None:
        event = ImsiMismatch(origin=device.origin, imsi=imsi, imei="35", expected_imsi=expected)
        self.subscribers.publish_mismatch(event, CAUSE)

    def reject(self, imsi: str = "24201", *, reason: CiotRejectedReason = UNKNOWN, nas: str = "pgw1") -> None:
        self.subscribers.refuse(reason, MobileReport(nas, imsi=imsi), UNATTRIBUTED, CAUSE)

    def forge(self, nas: str) -> None:
        reason = CiotRejectedReason.UNKNOWN_NAS
        self.subscribers.refuse_request(reason, nas=nas, remote=("192.0.2.1", 7), cause=CAUSE)

    def pass_time(self, seconds: float) -> None:
        self.fleet.clock.shift(seconds)
        self.subscribers.sweep()

    def published(self) -> list[Mapping[str, str]]:
        """Return the data of the events since the last call."""
        return [data for _, data in self.fleet.drain()]

    def gauges(self) -> dict[str, Any]:
        return {each.name: each.value() for each in self.subscribers.metrics()}


async def test_a_mismatch_that_repeats_is_one_event_an_hour_then_a_count(bench: FleetBench) -> None:
    """A device with the wrong SIM tries every few minutes for days."""
    cellular, device = Bench(bench), await bench.device()
    for _ in range(12):
        cellular.mismatch(device)
        bench.clock.shift(299)
    first = cellular.published()
    cellular.pass_time(0)
    early = cellular.published()
    cellular.pass_time(12)

    assert first == [{"imsi": "24201", "imei": "35", "expectedImsi": "24209"}]
    assert early == []
    assert cellular.published() == [{"imsi": "24201", "imei": "35", "expectedImsi": "24209", "count": "11"}]


async def test_one_device_cannot_exhaust_the_table_for_others(bench: FleetBench) -> None:
    """Hardware may report any IMEI: one SIM could fill the table with invented numbers."""
    cellular, device, other = Bench(bench, subscribers=2), await bench.device(), await bench.device()
    for number in range(50):
        cellular.mismatch(device, f"24201{number}")
    invented = len(cellular.published())
    cellular.mismatch(other)

    assert invented == KINDS
    assert len(cellular.published()) == 1
    assert cellular.gauges()["cellular_refusals_untold"] == 50 - KINDS


@pytest.mark.parametrize("change", [{"imsi": "24202"}, {"expected": "24203"}], ids=str)
async def test_another_mismatch_is_published_at_once(bench: FleetBench, change: dict[str, Any]) -> None:
    """Another SIM, or the same one after the device was edited."""
    cellular, device = Bench(bench), await bench.device()
    cellular.mismatch(device)
    cellular.mismatch(device, **change)

    assert len(cellular.published()) == 2


async def test_a_mismatch_after_a_correct_attachment_is_published_at_once(bench: FleetBench) -> None:
    cellular, device = Bench(bench), await bench.device()
    cellular.mismatch(device)
    device.traffic.attachments += 1
    cellular.mismatch(device)

    assert len(cellular.published()) == 2


async def test_two_requests_of_an_unknown_subscriber_are_one_event(bench: FleetBench) -> None:
    """A summary with the count follows a minute later."""
    cellular = Bench(bench)
    cellular.reject()
    cellular.reject()
    first = cellular.published()
    cellular.pass_time(61)

    assert first == [{"reason": "unknownDevice", "nas": "pgw1", "imsi": "24201"}]
    assert [each["count"] for each in cellular.published()] == ["1"]


async def test_events_per_second_are_limited_over_all_subscribers(bench: FleetBench) -> None:
    """A request over the rate is published at its next occurrence."""
    cellular = Bench(bench)
    for imsi in ("24201", "24202", "24203"):
        cellular.reject(imsi)
    first = [each["imsi"] for each in cellular.published()]
    cellular.pass_time(1)
    cellular.reject("24203")

    assert first == ["24201", "24202"]
    assert [each["imsi"] for each in cellular.published()] == ["24203"]
    assert cellular.gauges()["cellular_refusals_untold"] == 1


async def test_a_flood_of_one_reason_does_not_hide_another(bench: FleetBench) -> None:
    """Any host can send requests to a RADIUS port."""
    cellular, device = Bench(bench), await bench.device()
    for number in range(50):
        cellular.forge(f"192.0.2.{number}")
    cellular.published()
    cellular.reject()
    cellular.mismatch(device)

    assert len(cellular.published()) == 2


async def test_unauthenticated_requests_are_one_event_of_their_nas(bench: FleetBench) -> None:
    """Their numbers prove nothing, so they are no part of the event."""
    cellular = Bench(bench)
    for _ in range(50):
        cellular.forge("pgw1")

    assert cellular.published() == [{"reason": "unknownNas", "nas": "pgw1", "remoteAddress": "192.0.2.1:7"}]
    assert cellular.gauges()["cellular_refusals_watched"] == 1


async def test_the_table_of_refused_subscribers_is_bounded(bench: FleetBench) -> None:
    """Beyond the bound, refusals are only counted."""
    cellular = Bench(bench)
    devices = [await bench.device() for _ in range(5)]
    for device in devices:
        cellular.mismatch(device)

    assert len(cellular.published()) == 3
    assert cellular.gauges()["cellular_refusals_watched"] == 3
    assert cellular.gauges()["cellular_refusals_untold"] == 2
    assert cellular.gauges()["cellular_refusals"] == {"imsiMismatch": 5}
