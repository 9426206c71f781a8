"""The hub: recipients, order, and number of writes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from span_events.dialects.span import PLAIN
from span_events.errors import Unavailable
from span_events.events.activity import Activity, Origin
from span_events.events.filters import EVERYTHING, Filter, Scope
from span_events.events.message import Message, Transport
from span_events.fanout.subscriber import Ending, Stream, encoding
from tests.bench.clock import ManualClock, settle
from tests.bench.waiting import until
from tests.fanout.bench import CREATED, EXTENDED, REMOVED, UPDATED, Bench, Pipe


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


async def test_a_subscriber_too_many_is_refused(bench: Bench) -> None:
    """With the number and the setting's name."""
    small = Bench(subscribers=1)
    small.join()
    with pytest.raises(Unavailable, match=r"There are 1 subscribers, as many as fanout\.subscribers allows"):
        small.join()


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


async def test_a_replay_that_fails_leaves_nothing_behind(bench: Bench) -> None:
    """Otherwise each such attempt would leave a group for which events are encoded for ever."""

    def fail() -> Iterable[bytes]:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        bench.join(replay=fail)
    assert bench.hub._groups == {}


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
