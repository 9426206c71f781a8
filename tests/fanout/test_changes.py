"""The hub: subscribers that change what they ask for."""

from __future__ import annotations

from span_events.events.activity import Origin
from span_events.events.catalogue import DeviceCreated, DeviceUpdated
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from tests.bench.clock import settle
from tests.fanout.bench import Bench


async def test_a_subscriber_changes_its_scope_between_two_events(bench: Bench) -> None:
    """The first event is not flushed yet when the change comes."""
    pipe, subscriber = bench.join(Scope(1))
    bench.show(DeviceCreated(origin=Origin(1, 2)), DeviceCreated(origin=Origin(2, 3)))
    bench.hub.change(subscriber, PASS_ALL, (Scope(2),))
    bench.show(DeviceUpdated(origin=Origin(1, 2)), DeviceUpdated(origin=Origin(2, 3)))
    await settle()

    assert [(each["event"], each["deviceId"]) for each in pipe.events] == [
        ("deviceCreated", "2"),
        ("deviceUpdated", "3"),
    ]


async def test_the_count_of_delivered_events_survives_a_change(bench: Bench) -> None:
    """Other subscribers of the new group have received more before."""
    bench.join(EVERYTHING)
    _, subscriber = bench.join(EVERYTHING, Filter(names=frozenset({"deviceCreated"})))
    bench.show(*[DeviceUpdated(origin=Origin(1, 2))] * 5, DeviceCreated(origin=Origin(1, 2)))
    await settle()
    bench.hub.change(subscriber, PASS_ALL)
    bench.show(DeviceUpdated(origin=Origin(1, 2)))
    await settle()

    assert subscriber.delivered == 2


async def test_a_change_to_the_filter_in_force_keeps_the_subscriber(bench: Bench) -> None:
    """It is the last member of its group, which the change must not remove."""
    pipe, subscriber = bench.join(Scope(1))
    bench.hub.change(subscriber, PASS_ALL, (Scope(1),))
    bench.show(DeviceCreated(origin=Origin(1, 2)))
    await settle()

    assert [each["event"] for each in pipe.events] == ["deviceCreated"]
    bench.hub.unsubscribe(subscriber)
    assert bench.hub.subscribers == 0
