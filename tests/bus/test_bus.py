"""The bus: the same behaviour inside a process, on a node of NATS, and between two of its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from itertools import count

import pytest
import pytest_asyncio

from span_events.bus.base import NoAnswer, NobodyServes
from span_events.bus.local import LocalBus
from span_events.clock import SystemClock
from span_events.events.activity import Activity, Origin, SpanId
from span_events.events.catalogue import DeviceMoved
from span_events.ids import IdGenerator
from tests.bench.peers.nats import NatsServer
from tests.bench.waiting import until
from tests.bus.nodes import COLLECTION, Node, alarm, message, node, numbered

pytestmark = pytest.mark.asyncio(loop_scope="module")
_NUMBERS = count(1)


@pytest_asyncio.fixture(
    loop_scope="module",
    params=["inside a process", "on one node", "between two nodes", "by way of the archive"],
    name="nodes",
)
async def make_nodes(
    request: pytest.FixtureRequest, nats: NatsServer, archive: NatsServer
) -> AsyncIterator[tuple[Node, Node]]:
    """The node where events are published, and the one where they are needed."""
    async with AsyncExitStack() as stack:
        if request.param == "inside a process":
            here = there = Node(LocalBus(SystemClock(), IdGenerator()))
        else:
            url = archive.url if "archive" in request.param else nats.url
            here = there = await stack.enter_async_context(node(url, next(_NUMBERS)))
            if request.param != "on one node":
                there = await stack.enter_async_context(node(url, next(_NUMBERS)))
        yield here, there


class TestBus:
    """The guarantees of every bus to fleet and hub."""

    async def test_an_event_arrives_as_it_was_published(self, nodes: tuple[Node, Node]) -> None:
        """With its id, time, origin, cause and session."""
        here, there = nodes
        await there.follow(COLLECTION)
        event = DeviceMoved(
            origin=Origin(COLLECTION, 5, 6),
            correlation_id=7,
            session_id=8,
            from_collection=SpanId(9),
            to_collection=SpanId(COLLECTION),
        )
        here.bus.publish(event, time_ns=1_700_000_000_123_456_789)

        assert await there.got(1) == [Activity(here.activities[0].id, 1_700_000_000_123_456_789, event)]

    async def test_events_arrive_in_their_order_and_once(self, nodes: tuple[Node, Node]) -> None:
        """Warnings among routine keep their place."""
        here, there = nodes
        await there.follow(COLLECTION)
        for number in range(100):
            here.bus.publish(alarm() if number % 7 == 0 else numbered(number))
        got = await there.got(100)

        assert got == here.activities
        assert [each.id for each in got] == sorted({each.id for each in got})

    async def test_events_of_no_collection_arrive(self, nodes: tuple[Node, Node]) -> None:
        here, there = nodes
        await there.follow(None)
        here.bus.publish(alarm(None))

        assert [each.event for each in await there.got(1)] == [alarm(None)]

    async def test_a_message_arrives_as_it_was_forwarded(self, nodes: tuple[Node, Node]) -> None:
        here, there = nodes
        await there.follow(COLLECTION, messages=True)
        here.bus.forward(message(here.bus.new_id()))
        await until(lambda: bool(there.messages))

        assert there.messages == here.messages

    async def test_a_failing_sink_disturbs_nobody(self, nodes: tuple[Node, Node]) -> None:
        """It is our defect, and counted."""
        here, there = nodes
        await there.follow(COLLECTION)
        there.bus.listen(activities=lambda activity: 1 / 0, everywhere=True)  # type: ignore[arg-type]
        last: list[Activity] = []
        there.bus.listen(activities=last.append, everywhere=True)
        here.bus.publish(numbered(1))
        await until(lambda: bool(last))

        assert there.bus.failures == 1

    async def test_a_sink_that_listens_here_gets_the_events_of_its_node(self, nodes: tuple[Node, Node]) -> None:
        """Outputs are such sinks: each event leaves through the node that published it."""
        here, there = nodes
        await there.follow(COLLECTION)
        own: list[Activity] = []
        there.bus.listen(activities=own.append)
        here.bus.publish(numbered(1))
        await there.got(1)

        assert own == ([] if here is not there else there.activities)

    async def test_a_request_is_answered(self, nodes: tuple[Node, Node]) -> None:
        here, there = nodes

        async def answer(data: bytes) -> bytes:
            return data[::-1]

        there.bus.serve("gateway.5", answer)
        await until_served(here, "gateway.5")

        assert await here.bus.ask("gateway.5", b"abc", 60.0) == b"cba"

    async def test_a_request_that_nobody_serves_fails_at_once(self, nodes: tuple[Node, Node]) -> None:
        """NobodyServes is an answer: the gateway is connected nowhere."""
        here, there = nodes

        async def answer(data: bytes) -> bytes:
            return data

        stop = there.bus.serve("gateway.6", answer)
        await until_served(here, "gateway.6")
        stop()
        with pytest.raises(NobodyServes):
            await ask_until_refused(here, "gateway.6")

    async def test_an_answer_that_comes_late_is_none(self, nodes: tuple[Node, Node]) -> None:
        here, there = nodes
        called = asyncio.Event()

        async def answer(data: bytes) -> bytes:
            if data:
                called.set()
                await asyncio.Event().wait()
            return data

        there.bus.serve("gateway.7", answer)
        await until_served(here, "gateway.7")
        with pytest.raises(NoAnswer, match="within"):
            await here.bus.ask("gateway.7", b"abc", 0.05)


async def until_served(here: Node, subject: str) -> None:
    """Wait until a subject is served."""
    while True:
        try:
            await here.bus.ask(subject, b"", 60.0)
            return
        except NobodyServes:
            await asyncio.sleep(0)


async def ask_until_refused(here: Node, subject: str) -> None:
    """Ask again and again: the news of a subject's end takes a moment, in which a request may get lost."""
    while True:
        with suppress(NoAnswer):
            await here.bus.ask(subject, b"", 1.0)
