"""Summaries: the first event of each cause at once, a burst one by one, the rest as counts."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.bus.local import LocalBus
from span_events.dialects.span import data_of
from span_events.events.activity import UNATTRIBUTED, Activity, Origin
from span_events.events.catalogue import MessageRejected
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.summaries import KINDS, OTHERS, Summaries
from span_events.ids import IdGenerator
from tests.bench.clock import ManualClock

SENDER = "10.0.0.1"


class Bench:
    """Summaries, and the events that they published."""

    def __init__(self, **limits: Any) -> None:
        self.clock = ManualClock()
        bus = LocalBus(self.clock, IdGenerator())
        self._activities: list[Activity] = []
        bus.listen(activities=self._activities.append)
        self.summaries = Summaries(bus=bus, clock=self.clock, **({"burst": 3, "window": 60.0, "senders": 100} | limits))

    def reject(
        self, detail: str | None = None, *, sender: str = SENDER, times: int = 1, origin: Origin = UNATTRIBUTED
    ) -> None:
        reason = MessageRejectedReason.MALFORMED
        event = MessageRejected(origin=origin, correlation_id=7, reason=reason, detail=detail)
        for _ in range(times):
            self.summaries.publish(event, sender, reason.value, detail)

    def pass_time(self, seconds: float) -> None:
        self.clock.shift(seconds)
        self.summaries.sweep()

    def published(self) -> list[dict[str, str]]:
        """Return the data of the events since the last call, without the reason."""
        found = [dict(data_of(each.event)) for each in self._activities]
        self._activities.clear()
        for each in found:
            del each["reason"]
        return found


def test_a_burst_is_published_one_by_one_and_the_rest_as_a_count() -> None:
    """The summary comes when the window ends, and belongs to no single request."""
    bench = Bench()
    bench.reject(times=10)
    one_by_one = bench.published()
    bench.pass_time(59)
    early = bench.published()
    bench.pass_time(2)

    assert one_by_one == [{}, {}, {}]
    assert early == []
    assert bench.published() == [{"count": "7"}]


def test_no_summary_blames_one_cause_for_another() -> None:
    """Twelve times "version is 2", then three times "token length 9": the second cause is published at once."""
    bench = Bench(burst=10)
    bench.reject("version is 2", times=12)
    bench.reject("token length 9", times=3)
    at_once = [each["detail"] for each in bench.published()]
    bench.pass_time(61)

    assert at_once == ["version is 2"] * 10 + ["token length 9"]
    assert bench.published() == [{"detail": "version is 2", "count": "2"}, {"detail": "token length 9", "count": "2"}]


def test_invented_causes_are_bounded_and_summed_up_as_others() -> None:
    """A sender may invent any number of causes."""
    bench = Bench(burst=1, others={"detail": OTHERS})
    for number in range(50):
        bench.reject(f"cause {number}")
    at_once = bench.published()
    bench.pass_time(61)

    assert len(at_once) == KINDS
    assert bench.published() == [{"detail": OTHERS, "count": str(50 - KINDS)}]
    assert bench.summaries.unpublished == 0


def test_causes_beyond_the_bound_are_counted_where_no_event_can_name_them() -> None:
    """Mismatches of numbers have no text that could stand for the others."""
    bench = Bench(burst=1)
    for number in range(50):
        bench.reject(f"cause {number}")
    bench.pass_time(61)

    assert len(bench.published()) == KINDS
    assert bench.summaries.unpublished == 50 - KINDS


def test_a_window_without_suppressed_events_ends_without_a_summary() -> None:
    """The next event of the same cause is published again."""
    bench = Bench(burst=1)
    bench.reject()
    bench.pass_time(61)
    bench.reject()

    assert bench.published() == [{}, {}]


def test_one_sender_does_not_hide_another() -> None:
    bench = Bench(burst=1)
    bench.reject(times=100)
    bench.reject(sender="10.0.0.2")

    assert len(bench.published()) == 2


def test_senders_beyond_the_bound_are_only_counted() -> None:
    """A flood from forged addresses costs neither memory nor events."""
    bench = Bench(senders=3)
    for last in range(20):
        bench.reject(sender=f"10.9.9.{last}")

    assert (len(bench.published()), len(bench.summaries), bench.summaries.unpublished) == (3, 3, 17)


def test_a_flood_of_strangers_does_not_hide_the_fault_of_a_device() -> None:
    """Addresses can be forged, and devices cannot: each kind has a bound of its own."""
    bench = Bench(senders=3)
    device = Origin(collection_id=1, device_id=2)
    for last in range(20):
        bench.reject(sender=f"10.9.9.{last}")
    bench.reject("token length 9", sender="10.0.0.1", origin=device)
    during = bench.published()
    bench.pass_time(61)
    for last in range(20):
        bench.reject("again", sender=f"10.9.9.{last}")

    assert during[3:] == [{"detail": "token length 9"}]
    assert len(bench.published()) == 3
    assert len(bench.summaries) == 3


def test_new_causes_per_second_are_limited_over_all_senders() -> None:
    """An event over the rate is published at its next occurrence."""
    bench = Bench(per_second=2)
    for sender in ("a", "b", "c"):
        bench.reject(sender=sender)
    first = len(bench.published())
    bench.pass_time(1)
    bench.reject(sender="c")

    assert (first, len(bench.published()), bench.summaries.unpublished) == (2, 1, 1)


@pytest.mark.parametrize("burst", [1, 2])
def test_a_flood_may_have_a_smaller_burst(burst: int) -> None:
    bench = Bench()
    admitted = [bench.summaries.admits(SENDER, "rateLimited", burst=burst) for _ in range(5)]

    assert admitted == [True] * burst + [False] * (5 - burst)


def test_the_counts_of_a_device_that_moves_stay_in_their_collections() -> None:
    bench = Bench(burst=1)
    bench.reject(origin=Origin(1, 5), times=3)
    bench.reject(origin=Origin(2, 5), times=8)
    bench.published()
    bench.pass_time(61)

    assert [each["count"] for each in bench.published()] == ["2", "7"]
