"""The hub: the bounds of readers that are slow, stalled or gone, and the events that tell them of a gap."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from span_events import ids
from span_events.errors import Unavailable
from span_events.events.activity import Origin
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from span_events.fanout.subscriber import Ending, Stream
from tests.bench.clock import settle
from tests.fanout.bench import CREATED, LINES, UPDATED, Bench, Pipe


async def test_a_slow_reader_loses_whole_batches_and_gets_events_dropped(bench: Bench) -> None:
    """F39: one eventsDropped with count, first and last id, as soon as it has caught up."""
    slow, _ = bench.join()
    quick, _ = bench.join()
    slow.stalled = True
    for _ in range(30):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    shown = len(slow.events)
    slow.read_on()
    bench.show(UPDATED(origin=Origin(1, 2)))
    await settle()

    told = slow.events[shown]
    assert len(quick.events) == 31
    assert told["event"] == "eventsDropped"
    assert told["data"]["reason"] == "slowSubscriber"
    assert int(told["data"]["count"]) == 30 - shown == bench.hub.dropped
    assert ids.parse(told["data"]["firstId"]) < ids.parse(told["data"]["lastId"])
    assert slow.names[shown + 1 :] == ["deviceUpdated"]


async def test_the_sweep_reports_a_gap_to_a_reader_that_caught_up_in_a_silence(bench: Bench) -> None:
    """It need not wait for the next event."""
    slow, _ = bench.join()
    slow.stalled = True
    for _ in range(30):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    slow.read_on()
    bench.hub.sweep()

    assert slow.names[-1] == "eventsDropped"


async def test_a_reader_that_stays_behind_is_closed(bench: Bench) -> None:
    """After stalled_after seconds; its memory is given back."""
    slow, _ = bench.join()
    slow.stalled = True
    for _ in range(30):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    bench.clock.shift(31)
    bench.hub.sweep()

    assert [ending for ending, _ in bench.closed] == [Ending.BEHIND]
    assert (bench.hub.subscribers, bench.hub.buffered) == (0, 0)


async def test_the_backlog_of_all_subscribers_is_bounded() -> None:
    """The total is a limit of its own, below the sum of the single limits."""
    bench = Bench(subscriber_buffer=100_000, total_buffer=5_000, max_linger_ms=0)
    pipes = [bench.join()[0] for _ in range(20)]
    for pipe in pipes:
        pipe.stalled = True
    for _ in range(100):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()

    assert sum(pipe.waiting for pipe in pipes) == bench.hub.buffered
    assert bench.hub.buffered <= 5_000 + 200
    with pytest.raises(Unavailable, match="octets wait for slow subscribers"):
        bench.join()


async def test_a_long_replay_does_not_make_a_reader_slow(bench: Bench) -> None:
    """While the past drains, the reader may owe that much more."""
    pipe, _ = bench.join()
    big = b'{"event":"past"}\n' * 500
    late = Pipe()
    late.stalled = True
    bench.hub.subscribe(
        Stream.ACTIVITIES, (EVERYTHING,), PASS_ALL, LINES, sink=late, token_id=1, close=print, replay=lambda: [big]
    )
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert late.names[-1] == "deviceCreated"
    assert pipe.names == ["deviceCreated"]


async def test_a_reader_that_left_in_a_round_gets_no_more_frames(bench: Bench) -> None:
    """And leaving twice does no harm."""
    members = [bench.join() for _ in range(6)]
    bench.show(CREATED(origin=Origin(1, 2)))
    await asyncio.sleep(0)
    pipe, subscriber = members[-1]
    bench.hub.unsubscribe(subscriber)
    bench.hub.unsubscribe(subscriber)
    await settle()

    assert pipe.writes == []
    assert bench.hub.subscribers == 5


class GonePipe(Pipe):
    """A lost connection as on uvloop: writing raises."""

    def write(self, data: Any) -> None:
        """Refuse."""
        raise RuntimeError("the handler is closed")


async def test_a_client_that_has_gone_costs_the_others_nothing(bench: Bench) -> None:
    """On uvloop that raises where asyncio only counts; the round goes on, and so do the next ones."""
    first, _ = bench.join()
    bench.join(pipe=GonePipe())
    last, _ = bench.join()
    for event in (CREATED, UPDATED):
        bench.show(event(origin=Origin(1, 2)))
        await settle()

    assert first.names == last.names == ["deviceCreated", "deviceUpdated"]


async def test_a_backlog_that_drains_in_a_silence_is_not_counted(bench: Bench) -> None:
    """The total would otherwise refuse newcomers, and drop events of others, because of octets long sent."""
    late = Pipe()
    late.stalled = True
    bench.join(replay=lambda: [b'{"event":"past"}\n' * 1000], pipe=late)
    with pytest.raises(Unavailable):
        bench.hub.check_room()
    late.read_on()
    bench.hub.sweep()

    assert bench.hub.buffered == 0
    bench.hub.check_room()


async def test_closing_a_stalled_reader_in_a_burst_skips_no_other_reader() -> None:
    """A group that disappears during a publish does not skip another group."""
    bench = Bench(subscriber_buffer=1, max_write=1, stalled_after=1, max_linger_ms=0)
    stalled, _ = bench.join(wish=Filter(names=frozenset({"deviceCreated"})))
    other, _ = bench.join()
    stalled.stalled = True
    for _ in range(3):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    bench.clock.shift(2)
    bench.show(*(CREATED(origin=Origin(1, 2)) for _ in range(40)))
    await settle()

    assert [ending for ending, _ in bench.closed] == [Ending.BEHIND]
    assert len(other.events) == 43


async def test_a_deferred_write_of_this_tick_is_no_backlog(bench: Bench) -> None:
    """As uvloop, which sends at the end of the tick: the buffer right after a write is no measure of the reader."""
    bench.hub._sends_at_once = False
    pipe, _ = bench.join()
    pipe.stalled = True
    for _ in range(2):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    behind = bench.hub.buffered
    pipe.waiting = 0
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert (behind > 0, bench.hub.buffered) == (True, 0)


async def test_a_gap_of_a_stream_with_several_scopes_belongs_to_their_common_part(bench: Bench) -> None:
    """The collection if all scopes are in one, nothing otherwise."""
    near, _ = bench.join((Scope(1, device_id=2), Scope(1, device_id=3)))
    far, _ = bench.join((Scope(1, device_id=2), Scope(4)))
    for pipe in (near, far):
        pipe.stalled = True
    for _ in range(40):
        bench.show(CREATED(origin=Origin(1, 2)))
        await settle()
    for pipe in (near, far):
        pipe.read_on()
    bench.hub.sweep()

    assert near.names[-1] == far.names[-1] == "eventsDropped"
    assert near.events[-1].get("collectionId") == "1"
    assert "collectionId" not in far.events[-1]
