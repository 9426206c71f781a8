"""Nodes: buses with sinks that record, and subscribers that need topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from typing import Any

from span_events.bus.base import Topic, topics_of
from span_events.bus.local import LocalBus
from span_events.bus.nats import NatsBus
from span_events.clock import SystemClock
from span_events.config import BusConfig, EventsConfig
from span_events.events.activity import Activity, Event, Origin
from span_events.events.catalogue import ClientConnected, MessageRejected
from span_events.events.filters import Scope
from span_events.events.history import History
from span_events.events.message import Message, Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.ids import IdGenerator
from tests.bench.waiting import until

COLLECTION = 1 << 50


class Shifted(SystemClock):
    """A clock that a test can move."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def monotonic(self) -> float:
        """Return seconds."""
        return super().monotonic() + self.ahead

    def time_ns(self) -> int:
        """Return nanoseconds since 1970."""
        return super().time_ns() + int(self.ahead * 1e9)


class Node:
    """A bus, and what its sinks got."""

    def __init__(self, bus: LocalBus, history: History | None = None) -> None:
        self.bus = bus
        self.history = history or History(per_collection=1000, total=10_000, born=0)
        self.activities: list[Activity] = []
        self.messages: list[Message] = []
        self.gaps = 0
        self.lost: set[Topic] = set()
        """Topics of the gaps."""
        bus.listen(activities=self.activities.append, messages=self.messages.append, everywhere=True)
        bus.on_gap.append(self._note_gap)

    async def follow(self, *collections: int | None, messages: bool = False) -> None:
        """Be a subscriber of collections; None is all of them."""
        topics = topics_of((Scope(each) for each in collections or (None,)), is_messages=messages)
        await self.bus.caught_up(topics)
        self.bus.follow(topics)

    def unfollow(self, *collections: int | None, messages: bool = False) -> None:
        """Leave."""
        self.bus.unfollow(topics_of((Scope(each) for each in collections or (None,)), is_messages=messages))

    async def got(self, count: int) -> list[Activity]:
        """Wait for so many activities, and return them all."""
        await until(lambda: len(self.activities) >= count)
        return self.activities

    @property
    def values(self) -> list[int | None]:
        """The numbers of the events of `numbered`."""
        return [each.event.handshake_ms for each in self.activities if isinstance(each.event, ClientConnected)]

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to NATS."""
        return bool(self.metric("bus_connected"))

    def metric(self, name: str) -> Any:
        """Read a metric."""
        (found,) = [each for each in self.bus.metrics() if each.name == name]
        return found.value()  # type: ignore[attr-defined]  # a plain one

    def _note_gap(self, lost: AbstractSet[Topic]) -> None:
        self.gaps += 1
        self.lost |= lost


def numbered(number: int, collection: int | None = COLLECTION) -> Event:
    """An event of routine that carries a number."""
    return ClientConnected(origin=Origin(collection, 2), identified_by="ip", handshake_ms=number)


def alarm(collection: int | None = COLLECTION) -> Event:
    """A warning or error."""
    return MessageRejected(origin=Origin(collection, 2), reason=MessageRejectedReason.MALFORMED)


def message(identifier: int, payload: bytes = b"\x00\xffon") -> Message:
    """An upstream message."""
    origin = Origin(COLLECTION, 2, 3)
    return Message(identifier, origin, 17, Transport.COAP, payload, 5683, 9, "POST", "a/b", (("rssi", "-9"),))


@asynccontextmanager
async def node(
    url: str, number: int = 0, clock: SystemClock | None = None, server: str = "one", **settings: Any
) -> AsyncIterator[Node]:
    """Run a bus over NATS; the settings are those of the bus, and ``events``, a table of those of events."""
    events = EventsConfig(**settings.pop("events", {}))
    clock, identifiers = clock or SystemClock(), IdGenerator(number)
    born = identifiers.next(clock.time_ns())
    history = History(per_collection=events.history_per_collection, total=10_000, born=born)
    bus = NatsBus(BusConfig(url=url, **settings), events, clock, identifiers, server=server, fill=history.fill)
    bus.listen(activities=history.insert, everywhere=True)
    found = Node(bus, history)
    await bus.start()
    supervised = asyncio.create_task(bus.run())
    try:
        yield found
        assert not supervised.done(), supervised.exception()
    finally:
        supervised.cancel()
        await asyncio.gather(supervised, return_exceptions=True)
        await bus.close()


async def break_off(which: Node) -> None:
    """Break the connection of a node."""
    client = which.bus._link.client  # type: ignore[attr-defined]
    assert client is not None
    client._transport._io_writer.transport.abort()
    await until(lambda: not which.is_connected)
