"""Refusals of the mobile network: published once, then as a count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from span_events.bus.local import LocalBus
from span_events.config import CellularConfig, RejectionsConfig
from span_events.dialects.span import data_of
from span_events.events.activity import Activity, Origin
from span_events.events.catalogue import ImsiMismatch
from span_events.events.reasons import CiotRejectedReason
from span_events.fleet.cellular.refusals import Refusals
from span_events.ids import IdGenerator
from tests.bench.clock import ManualClock

CAUSE = 77
UNKNOWN = CiotRejectedReason.UNKNOWN_DEVICE


class Bench:
    """Refusals, and the events that they published."""

    def __init__(self, subscribers: int = 3) -> None:
        bus = LocalBus(ManualClock(), IdGenerator())
        self._told: list[Activity] = []
        bus.listen(activities=self._told.append)
        config = CellularConfig(mismatch_window=3600.0, subscribers=subscribers, rejections_per_second=2)
        self.refusals = Refusals(config, RejectionsConfig(window=60.0), bus=bus)

    def mismatch(
        self, imsi: str = "24201", *, now: float = 0.0, episode: int = 0, expected: str = "24209", device: int = 2
    ) -> None:
        event = ImsiMismatch(origin=Origin(1, device), imsi=imsi, imei="35", expected_imsi=expected)
        self.refusals.mismatch(event, episode=episode, now=now, cause=CAUSE)

    def reject(
        self, imsi: str = "24201", *, now: float = 0.0, reason: CiotRejectedReason = UNKNOWN, nas: str = "pgw1"
    ) -> None:
        self.refusals.rejected(reason, nas=nas, imsi=imsi, imei="", now=now, cause=CAUSE)

    def take(self) -> list[Mapping[str, str]]:
        """Return the data of the events since the last call."""
        told = [data_of(each.event) for each in self._told]
        self._told.clear()
        return told

    def gauges(self) -> dict[str, Any]:
        return {each.name: each.value() for each in self.refusals.metrics()}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_mismatch_that_repeats_is_one_event_an_hour_then_a_count(bench: Bench) -> None:
    """A device with the wrong SIM tries every few minutes for days."""
    for minute in range(0, 60, 5):
        bench.mismatch(now=minute * 60.0)
    first = bench.take()
    bench.refusals.sweep(3599.0)
    early = bench.take()
    bench.refusals.sweep(3600.0)

    assert first == [{"imsi": "24201", "imei": "35", "expectedImsi": "24209"}]
    assert early == []
    assert bench.take() == [{"imsi": "24201", "imei": "35", "expectedImsi": "24209", "count": "11"}]


def test_one_device_cannot_exhaust_the_table_for_others() -> None:
    """Hardware may report any IMEI: one SIM could fill the table with invented numbers."""
    bench = Bench(subscribers=1000)
    for number in range(50):
        bench.mismatch(f"24201{number}")
    invented = len(bench.take())
    bench.mismatch("24201", device=3)

    assert invented == 20
    assert len(bench.take()) == 1
    assert bench.gauges()["cellular_refusals_untold"] == 30


def test_a_mismatch_without_repetition_has_no_summary(bench: Bench) -> None:
    """The hour ends without an event; after it the same mismatch is published again."""
    bench.mismatch()
    bench.refusals.sweep(3600.0)
    bench.mismatch(now=3601.0)

    assert len(bench.take()) == 2


@pytest.mark.parametrize("change", [{"imsi": "24202"}, {"episode": 1}, {"expected": "24203"}], ids=str)
def test_another_mismatch_is_published_at_once(bench: Bench, change: dict[str, Any]) -> None:
    """Another SIM; the same one after the right one was there; or the same after the device was edited."""
    bench.mismatch()
    bench.mismatch(**change)

    assert len(bench.take()) == 2


def test_two_requests_of_an_unknown_subscriber_are_one_event(bench: Bench) -> None:
    """A summary with the count follows a minute later."""
    bench.reject()
    bench.reject(now=5.0)
    first = bench.take()
    bench.refusals.sweep(60.0)

    assert first == [{"reason": "unknownDevice", "nas": "pgw1", "imsi": "24201"}]
    assert [each["count"] for each in bench.take()] == ["1"]


def test_events_per_second_are_limited_over_all_subscribers(bench: Bench) -> None:
    """A request over the rate is published at its next occurrence."""
    for imsi in ("24201", "24202", "24203"):
        bench.reject(imsi)
    told = [each["imsi"] for each in bench.take()]
    bench.refusals.sweep(1.0)
    bench.reject("24203", now=1.0)

    assert told == ["24201", "24202"]
    assert [each["imsi"] for each in bench.take()] == ["24203"]
    assert bench.gauges()["cellular_refusals_untold"] == 1


def test_a_flood_of_one_reason_does_not_hide_another(bench: Bench) -> None:
    """Any host can send requests with a wrong secret."""
    for number in range(50):
        bench.reject(reason=CiotRejectedReason.UNKNOWN_NAS, nas=f"192.0.2.{number}")
    bench.take()
    bench.reject()
    bench.mismatch()

    assert len(bench.take()) == 2


def test_numbers_in_unauthenticated_requests_are_no_part_of_the_key(bench: Bench) -> None:
    """Any number of these requests is one event of this NAS."""
    for number in range(50):
        bench.reject(f"2420{number:02}", reason=CiotRejectedReason.BAD_SECRET)

    assert len(bench.take()) == 1
    assert bench.gauges()["cellular_refusals_watched"] == 1


def test_the_table_of_refused_subscribers_is_bounded(bench: Bench) -> None:
    """Beyond the bound, refusals are only counted."""
    for number in range(5):
        bench.mismatch(f"2420{number}")

    assert len(bench.take()) == 3
    assert bench.gauges()["cellular_refusals_watched"] == 3
    assert bench.gauges()["cellular_refusals_untold"] == 2
    assert bench.gauges()["cellular_refusals"] == {"imsiMismatch": 5}
