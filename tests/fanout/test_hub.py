"""The hub: recipients, order, number of writes, and the cost of a slow reader."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from span_events import ids
from span_events.config import FanoutConfig
from span_events.dialects.span import PLAIN, SpanDialect
from span_events.errors import Unavailable
from span_events.events.activity import Activity, Event, Origin
from span_events.events.catalogue import DeviceCreated, DeviceRemoved, DeviceUpdated
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from span_events.events.message import Message, Transport
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Encoding, Ending, Scopes, Stream, Subscriber, encoding
from span_events.ids import IdGenerator
from tests.bench.clock import ManualClock, settle
from tests.bench.waiting import until

LINES = encoding(PLAIN, bytes, tells_gaps=True)
EXTENDED = encoding(SpanDialect(extended=True), bytes, tells_gaps=True, keepalive=b"quiet\n", silence=15.0)


class Pipe(asyncio.WriteTransport):
    """A transport that records each write; a stalled one also buffers it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stalled = False
        self.waiting = 0

    def write(self, data: Any) -> None:
        """Take octets."""
        self.writes.append(bytes(data))
        if self.stalled:
            self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        """Return the buffered octets."""
        return self.waiting

    def read_on(self) -> None:
        """The reader has caught up."""
        self.stalled, self.waiting = False, 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """All written events, parsed."""
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [each["event"] for each in self.events]


class Bench:
    """A hub with a clock that is moved by hand, and subscribers on pipes."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.identifiers = IdGenerator()
        self.hub = Hub(FanoutConfig(**settings), self.clock, self.identifiers)
        self.closed: list[tuple[Ending, str]] = []

    def join(
        self,
        scope: Scope | Scopes = EVERYTHING,
        wish: Filter = PASS_ALL,
        how: Encoding = LINES,
        *,
        stream: Stream = Stream.ACTIVITIES,
        replay: Callable[[], Iterable[bytes]] | None = None,
        pipe: Pipe | None = None,
        token_id: int = 1,
    ) -> tuple[Pipe, Subscriber]:
        """Add a subscriber."""
        pipe = pipe or Pipe()
        subscriber = self.hub.subscribe(
            stream,
            scope if isinstance(scope, tuple) else (scope,),
            wish,
            how,
            sink=pipe,
            token_id=token_id,
            close=lambda ending, text: self.closed.append((ending, text)),
            replay=replay,
        )
        return pipe, subscriber

    def show(self, *events: Event) -> None:
        """Publish events in this tick."""
        for event in events:
            self.hub.show(Activity(self.identifiers.next(self.clock.time_ns()), self.clock.time_ns(), event))


@pytest.fixture
async def bench() -> Bench:
    """A hub with small limits."""
    return Bench(subscriber_buffer=1000, total_buffer=10_000, slice=2, max_write=2000, max_linger_ms=0)


CREATED, UPDATED, REMOVED = DeviceCreated, DeviceUpdated, DeviceRemoved


async def test_events_of_one_tick_are_one_write_in_order(bench: Bench) -> None:
    """One joined write per subscriber and flush; each event still has its own line."""
    pipe, _ = bench.join()
    bench.show(CREATED(origin=Origin(1, 2)), UPDATED(origin=Origin(1, 2)), REMOVED(origin=Origin(1, 2)))
    await settle()

    assert len(pipe.writes) == 1
    assert pipe.names == ["deviceCreated", "deviceUpdated", "deviceRemoved"]


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        (EVERYTHING, ["1", "2", "3", None]),
        (Scope(1), ["1", "2"]),
        (Scope(1, 2), ["2"]),
        (Scope(2), ["3"]),
        (Scope(2, 2), []),
        (Scope(3), []),
    ],
)
async def test_a_subscriber_gets_the_events_of_its_scope(bench: Bench, scope: Scope, seen: list[str | None]) -> None:
    """A collection, one device of it, or all with unattributed events."""
    pipe, _ = bench.join(scope)
    origins = [Origin(1, 1), Origin(1, 2), Origin(2, 3), Origin()]
    bench.show(*(CREATED(origin=origin) for origin in origins))
    await settle()

    assert [each.get("deviceId") for each in pipe.events] == seen


async def test_a_gateway_scope_sees_its_gateway_only(bench: Bench) -> None:
    """Gateways have an index of their own."""
    pipe, _ = bench.join(Scope(1, gateway_id=9))
    bench.show(CREATED(origin=Origin(1, 2, 9)), CREATED(origin=Origin(1, 2, 8)), CREATED(origin=Origin(1, 2)))
    await settle()

    assert [each["gatewayId"] for each in pipe.events] == ["9"]


async def test_a_filter_is_applied_before_anything_is_encoded(bench: Bench) -> None:
    """A group without a matching event is not flushed."""
    pipe, _ = bench.join(wish=Filter(names=frozenset({"deviceRemoved"})))
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()
    bench.show(REMOVED(origin=Origin(1, 2)))
    await settle()

    assert pipe.names == ["deviceRemoved"]
    assert len(pipe.writes) == 1


async def test_all_subscribers_share_the_same_octets(bench: Bench) -> None:
    """Encoded and framed once for any number; slices skip no subscriber and keep the order."""
    pipes = [bench.join()[0] for _ in range(7)]
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()
    bench.show(UPDATED(origin=Origin(1, 2)))
    await settle()

    assert {tuple(pipe.names) for pipe in pipes} == {("deviceCreated", "deviceUpdated")}
    assert bench.hub.delivered == 14


async def test_a_long_round_lets_others_run_in_between(bench: Bench) -> None:
    """After a slice of two writes the loop gets its turn."""
    pipes = [bench.join()[0] for _ in range(6)]
    bench.show(CREATED(origin=Origin(1, 2)))
    progress = []
    for _ in range(6):
        await asyncio.sleep(0)
        progress.append(sum(bool(pipe.writes) for pipe in pipes))

    assert progress == [2, 4, 6, 6, 6, 6]


async def test_events_during_a_round_wait_for_its_end(bench: Bench) -> None:
    """No subscriber gets the second event before the first."""
    pipes = [bench.join()[0] for _ in range(6)]
    bench.show(CREATED(origin=Origin(1, 2)))
    await asyncio.sleep(0)
    bench.show(UPDATED(origin=Origin(1, 2)))
    await settle()

    assert {tuple(pipe.names) for pipe in pipes} == {("deviceCreated", "deviceUpdated")}


async def test_a_newcomer_gets_the_past_once_and_the_present_once(bench: Bench) -> None:
    """Pending frames belong to the earlier members; the replay has them for the new one."""
    old, _ = bench.join()
    bench.show(CREATED(origin=Origin(1, 2)))
    new, _ = bench.join(replay=lambda: [b'{"event":"past"}\n'])
    bench.show(UPDATED(origin=Origin(1, 2)))
    await settle()

    assert old.names == ["deviceCreated", "deviceUpdated"]
    assert new.names == ["past", "deviceUpdated"]


async def test_a_burst_is_cut_into_writes_of_bounded_size(bench: Bench) -> None:
    """No write is above max_write, and a burst in one tick does not gather without bound."""
    pipe, _ = bench.join()
    bench.show(*(CREATED(origin=Origin(1, 2)) for _ in range(1000)))

    assert pipe.writes, "a backlog is written before the tick ends"
    await settle()

    assert len(pipe.events) == 1000
    assert max(map(len, pipe.writes)) <= 2000


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


async def test_a_subscriber_too_many_is_refused(bench: Bench) -> None:
    """With the number and the setting's name."""
    small = Bench(subscribers=1)
    small.join()
    with pytest.raises(Unavailable, match=r"There are 1 subscribers, as many as fanout\.subscribers allows"):
        small.join()


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


async def test_a_silent_stream_gets_a_keepalive(bench: Bench) -> None:
    """After the silence of its encoding, and only where the encoding has one."""
    extended, _ = bench.join(how=EXTENDED)
    plain, _ = bench.join()
    bench.clock.shift(14.9)
    bench.hub.sweep()
    before = list(extended.writes)
    bench.clock.shift(0.2)
    bench.hub.sweep()
    bench.hub.sweep()

    assert (before, extended.writes, plain.writes) == ([], [b"quiet\n"], [])


async def test_messages_and_activities_are_streams_of_their_own(bench: Bench) -> None:
    """A /from subscriber sees no activity, and the other way round."""

    class Payload:
        def encode(self, item: Any) -> bytes:
            return bytes(item.payload)

    messages, _ = bench.join(Scope(1), how=encoding(Payload(), bytes, tells_gaps=False), stream=Stream.MESSAGES)
    activities, _ = bench.join(Scope(1))
    bench.hub.show_message(Message(1, Origin(1, 2), 0, Transport.UDP, b"hello"))
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert messages.writes == [b"hello"]
    assert activities.names == ["deviceCreated"]


async def test_an_idle_hub_does_not_wait() -> None:
    """The first event leaves in the same tick, whatever the longest wait is."""
    bench = Bench(max_linger_ms=1000)
    pipe, _ = bench.join()
    bench.show(CREATED(origin=Origin(1, 2)))
    await asyncio.sleep(0)

    assert pipe.names == ["deviceCreated"]


class SlowPipe(Pipe):
    """A pipe whose writes take a second each, by the clock of the test."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self.clock = clock
        self.seconds = 1.0

    def write(self, data: Any) -> None:
        """Take octets, and time."""
        self.clock.shift(self.seconds)
        super().write(data)


async def test_a_busy_hub_waits_for_company_and_an_idle_one_stops_waiting() -> None:
    """When flushing takes more than a fifth of the time, the next flush waits; quick flushes end that."""
    bench = Bench(max_linger_ms=1)
    pipe = SlowPipe(bench.clock)
    bench.join(pipe=pipe)
    writes = []
    for _ in range(2):
        bench.show(CREATED(origin=Origin(1, 2)))
        await asyncio.sleep(0)
        writes.append(len(pipe.writes))
    await until(lambda: len(pipe.writes) == 2)  # the linger is in real time
    pipe.seconds = 0.0
    for written in (3, 4, 5):
        bench.clock.shift(100)
        bench.show(CREATED(origin=Origin(1, 2)))
        await until(lambda written=written: len(pipe.writes) == written)  # type: ignore[misc]
    bench.show(CREATED(origin=Origin(1, 2)))
    await asyncio.sleep(0)

    assert writes == [1, 1], "the second event waits for company"
    assert len(pipe.writes) == 6, "the last one does not"


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


async def test_a_replay_that_fails_leaves_nothing_behind(bench: Bench) -> None:
    """Otherwise each such attempt would leave a group for which events are encoded for ever."""

    def fail() -> Iterable[bytes]:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        bench.join(replay=fail)
    assert bench.hub._groups == {}


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


async def test_an_event_in_several_scopes_of_a_stream_is_sent_once(bench: Bench) -> None:
    pipe, subscriber = bench.join((Scope(1), Scope(1, device_id=2), Scope(1, gateway_id=3), Scope(4)))
    bench.show(CREATED(origin=Origin(1, 2, 3)), UPDATED(origin=Origin(4, 5)), REMOVED(origin=Origin(6, 2)))
    await settle()
    bench.hub.unsubscribe(subscriber)

    assert pipe.names == ["deviceCreated", "deviceUpdated"]
    assert not bench.hub._groups


async def test_a_stream_without_scopes_is_silent(bench: Bench) -> None:
    pipe, _ = bench.join(())
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert pipe.writes == []
    assert bench.hub.subscribers == 1


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


async def test_an_event_is_written_once_for_two_framings_of_a_dialect(bench: Bench) -> None:
    written: list[Activity] = []

    class Counting:
        def encode(self, item: Activity) -> bytes:
            written.append(item)
            return PLAIN.encode(item)

    dialect = Counting()
    one, _ = bench.join(how=encoding(dialect, bytes, tells_gaps=True))
    two, _ = bench.join(how=encoding(dialect, lambda line: b"data: " + line, tells_gaps=True))
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert len(written) == 1
    assert two.writes == [b"data: " + one.writes[0]]


async def test_streams_of_a_deleted_token_end(bench: Bench) -> None:
    kept, _ = bench.join(token_id=1)
    bench.join(token_id=2)
    bench.hub.revoke({2})
    bench.show(CREATED(origin=Origin(1, 2)))
    await settle()

    assert bench.closed == [(Ending.REVOKED, "the token was revoked")]
    assert kept.names == ["deviceCreated"]


async def test_closing_the_hub_flushes_and_ends_every_stream(bench: Bench) -> None:
    pipe, _ = bench.join()
    bench.join(Scope(1))
    bench.show(CREATED(origin=Origin(1, 2)))
    bench.hub.close()

    assert pipe.names == ["deviceCreated"]
    assert bench.closed == [(Ending.SHUTDOWN, "the server shuts down")] * 2
    assert bench.hub.subscribers == 0
