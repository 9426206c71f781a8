"""The hub and other nodes: the events that it needs, the gaps that it tells, streams that wait for their past."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest

from span_events.bus.base import Topic, topics_of
from span_events.config import FanoutConfig
from span_events.errors import Unavailable
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Stream, encoding
from span_events.ids import IdGenerator, render
from tests.bench.clock import ManualClock
from tests.fanout.bench import LINES, Bench


class RecordingReach:
    """Counts the groups that follow each topic."""

    def __init__(self) -> None:
        self.topics = Counter[Topic]()
        self.awaited: list[Topic] = []

    def follow(self, topics: Iterable[Topic]) -> None:
        """Count."""
        self.topics.update(topics)

    def unfollow(self, topics: Iterable[Topic]) -> None:
        """Count down."""
        self.topics.subtract(topics)

    async def caught_up(self, topics: Iterable[Topic]) -> None:
        """Record."""
        self.awaited += topics


async def test_the_hub_follows_what_its_subscribers_need() -> None:
    """As long as they are there; each of the scopes of a stream, and messages apart from events."""
    bench, reach = Bench(), RecordingReach()
    bench.hub = Hub(FanoutConfig(), ManualClock(), IdGenerator(), reach)
    one, other = Scope(1, 2), Scope(3, unattributed=True)
    subscribers = [
        bench.join((one, other))[1],
        bench.join(EVERYTHING)[1],
        bench.join(Scope(1), stream=Stream.MESSAGES)[1],
    ]

    assert reach.topics == {
        Topic(False, render(1)): 1,
        Topic(False, render(3)): 1,
        Topic(False, "none"): 1,
        Topic(False, "*"): 1,
        Topic(True, render(1)): 1,
    }

    for each in subscribers:
        bench.hub.unsubscribe(each)
    assert set(reach.topics.values()) == {0}

    await bench.hub.caught_up(Stream.MESSAGES, (one,))
    assert reach.awaited == [Topic(True, render(1))]


async def test_a_gap_between_nodes_is_told_to_those_whose_topics_it_touches() -> None:
    """Whatever their filter; Span's own clients get nothing that they do not know."""
    bench = Bench()
    filtered, _ = bench.join(Scope(5), Filter(names=frozenset({"deviceCreated"})))
    other, _ = bench.join(Scope(6))
    everything, _ = bench.join(EVERYTHING)
    plain, _ = bench.join(Scope(5), how=encoding(LINES.dialect, LINES.frame, tells_gaps=False))
    bench.hub.tell_gap(topics_of([Scope(5)]))
    bench.hub.tell_gap(topics_of([Scope(7)], is_messages=True))
    bench.hub.tell_gap(topics_of([EVERYTHING]))
    bench.hub.close()

    assert [(each["event"], each["data"], each["collectionId"]) for each in filtered.events] == [
        ("eventsDropped", {"reason": "busLost"}, render(5))
    ] * 2
    assert len(other.events) == 1
    assert len(everything.events) == 2
    assert plain.writes == []


async def test_a_token_that_is_revoked_while_its_stream_waits_gets_no_stream() -> None:
    """The past of other nodes takes a moment, in which the hub does not know the stream yet."""
    bench = Bench()
    bench.hub.revoke([7])
    with pytest.raises(Unavailable, match="revoked"):
        bench.join(EVERYTHING, PASS_ALL, token_id=7)

    bench.join(EVERYTHING, PASS_ALL, token_id=8)
