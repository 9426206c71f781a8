"""The archive in JetStream: the same past on every node, and the way from past to present without a gap."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.js.api import StorageType

from span_events.bus import archive as archive_module
from span_events.bus.archive import STREAM, Flow
from span_events.bus.base import topics_of
from span_events.bus.link import settle
from span_events.events.activity import Origin
from span_events.events.catalogue import ClientConnected
from span_events.events.filters import EVERYTHING, PASS_ALL, Scope
from span_events.events.history import Replay
from span_events.ids import unix_ms
from tests.bench.peers.nats import NatsServer, jetstream, nats_server
from tests.bench.waiting import until
from tests.bus.nodes import Node, Shifted, alarm, break_off, node, numbered

pytestmark = pytest.mark.asyncio(loop_scope="module")
_COLLECTIONS = count(1 << 50)


@pytest_asyncio.fixture(loop_scope="module", name="nodes")
async def two_nodes(archive: NatsServer) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes of one archive."""
    async with node(archive.url, 1) as here, node(archive.url, 2) as there:
        yield here, there


@pytest.fixture(name="collection")
def own_collection() -> int:
    """A collection of this test alone: the archive outlives it."""
    return next(_COLLECTIONS)


def replay(at: Node, collection: int | None, after: int = 0) -> Replay:
    """The replay of a node."""
    scope = EVERYTHING if collection is None else Scope(collection)
    return at.history.after(scope, PASS_ALL, after)


async def test_a_node_that_was_not_there_replays_the_same(
    archive: NatsServer, nodes: tuple[Node, Node], collection: int
) -> None:
    """Events of all nodes, its own among them, warnings too, in the order in which others saw them; nothing is live."""
    here, there = nodes
    async with node(archive.url, 3) as watching:
        await watching.follow(collection)
        for number in range(50):
            (here if number % 3 else there).bus.publish(
                alarm(collection) if number % 10 == 0 else numbered(number, collection)
            )
        seen = tuple(await watching.got(50))
    await here.follow(collection)
    await there.follow(collection)

    for at in nodes:
        assert replay(at, collection).activities == seen
        assert [replay(at, collection, each.id).activities[:1] for each in seen[:-1]] == [(each,) for each in seen[1:]]
    assert here.history.tail(Scope(collection), PASS_ALL, 7) == there.history.tail(Scope(collection), PASS_ALL, 7)
    assert here.metric("bus_received") == there.metric("bus_received") == 0


async def test_related_events_are_found_on_every_node(nodes: tuple[Node, Node], collection: int) -> None:
    here, there = nodes
    here.bus.publish(ClientConnected(origin=Origin(collection), identified_by="ip", correlation_id=4242))
    await until(lambda: here.metric("bus_waiting_bytes") == 0)
    await there.follow(collection)

    assert there.history.related(4242) == here.history.related(4242) == here.activities


async def test_between_past_and_present_nothing_is_missing_or_doubled(
    nodes: tuple[Node, Node], collection: int
) -> None:
    """While another node publishes all the time."""
    here, there = nodes
    stop = asyncio.Event()
    sent = 0

    async def publish() -> None:
        nonlocal sent
        while not stop.is_set():
            here.bus.publish(numbered(sent, collection))
            sent += 1
            await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    await until(lambda: sent > 200)
    await there.follow(collection)
    past = len(replay(there, collection).activities)
    await until(lambda: there.metric("bus_received") > 200)
    stop.set()
    await publishing
    await until(lambda: there.values[-1:] == [sent - 1])

    assert past > 0
    assert there.values == list(range(sent - len(there.values), sent))
    assert replay(there, collection).activities[-500:] == replay(here, collection).activities[-500:]


async def test_a_stream_of_everything_gets_the_past_of_all(archive: NatsServer, collection: int) -> None:
    async with node(archive.url, 1) as here:
        here.bus.publish(numbered(1, collection))
        here.bus.publish(alarm(None))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        async with node(archive.url, 2) as there:
            await there.follow(None)

            assert set(here.activities) <= set(replay(there, None).activities)


async def test_a_node_says_from_where_on_it_knows_the_past(tmp_path: Path) -> None:
    """From the begin of the archive, or of what it kept of a collection."""
    limits = {"history_per_collection": 20}
    async with (
        nats_server(tmp_path, jetstream(tmp_path)) as nats,
        node(nats.url, 1, events=limits) as here,
    ):
        before = here.bus.new_id(1_500_000_000_000_000_000)
        for _ in range(10):
            here.bus.publish(numbered(1, 5))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        async with node(nats.url, 2, events=limits) as there:
            await there.follow(5)
            assert replay(there, 5, here.activities[0].id).lost_through is None
            assert replay(there, 5, before).lost_through is not None

        for _ in range(30):
            here.bus.publish(numbered(2, 5))
            await until(lambda: here.metric("bus_waiting_bytes") == 0)
            here.bus.publish(alarm(6))  # another subject, so that nothing is joined
        async with node(nats.url, 3, events=limits) as there:
            await there.follow(5)
            assert replay(there, 5, here.activities[0].id).lost_through is not None
            assert replay(there, 5, here.activities[0].id).activities[-1] == here.activities[-2]


async def test_a_partition_of_nodes_loses_nothing_that_the_archive_has(archive: NatsServer, collection: int) -> None:
    """A node whose connection broke goes on where it was; its subscribers are told of no gap, as there is none."""
    async with node(archive.url, 1) as here, node(archive.url, 2) as there:
        await there.follow(collection)
        here.bus.publish(numbered(1, collection))
        await there.got(1)
        await break_off(there)
        here.bus.publish(numbered(2, collection))
        await until(lambda: there.metric("bus_connections") == 2)
        here.bus.publish(numbered(3, collection))
        await there.got(3)

        assert there.values == [1, 2, 3]
        assert there.gaps == 0


async def test_a_subscriber_that_came_while_nats_was_away_gets_what_followed(
    archive: NatsServer, collection: int
) -> None:
    """Events before it are the past; until the archive is read, their replay reports a gap."""
    async with node(archive.url, 1) as here, node(archive.url, 2) as there:
        before = here.bus.new_id()
        here.bus.publish(numbered(1, collection))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        await break_off(there)
        await there.follow(collection)
        assert replay(there, collection, before).lost_through is not None

        here.bus.publish(numbered(2, collection))
        await until(lambda: there.metric("bus_connections") == 2)
        here.bus.publish(numbered(3, collection))
        await until(lambda: 3 in there.values)

        assert there.values == [2, 3]
        assert there.gaps == 0
        assert replay(there, collection, before) == Replay(tuple(here.activities))


async def test_a_subscriber_for_whom_the_archive_is_too_slow_misses_nothing(
    archive: NatsServer, collection: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins without the past; events after that are shown, although the archive has them already."""
    monkeypatch.setattr("span_events.bus.nats._PATIENCE", 0.0)
    answered, start = asyncio.Event(), Flow.start

    async def start_late(*arguments: Any) -> None:
        await answered.wait()
        await start(*arguments)

    monkeypatch.setattr(Flow, "start", start_late)
    async with node(archive.url, 1) as here, node(archive.url, 2) as there:
        await there.follow(collection)
        here.bus.publish(numbered(1, collection))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        answered.set()
        await until(lambda: bool(replay(there, collection).activities))
        here.bus.publish(numbered(2, collection))
        await until(lambda: 2 in there.values)

        assert there.values == [1, 2]
        assert replay(there, collection).activities == tuple(here.activities)


async def test_a_stream_of_messages_is_told_that_its_connection_was_broken(
    archive: NatsServer, collection: int
) -> None:
    """The archive has no upstream messages. Streams of events miss nothing."""
    async with node(archive.url, 1) as there:
        await there.follow(collection)
        await there.follow(collection, messages=True)
        await break_off(there)
        await until(lambda: there.is_connected)

        assert there.lost == topics_of([Scope(collection)], is_messages=True)


async def test_nats_that_forgot_the_past_is_told(tmp_path: Path) -> None:
    """Its memory went with its process: subscribers learn of the gap, and so does who asks for what came before."""
    async with (
        nats_server(tmp_path, jetstream(tmp_path)) as nats,
        node(nats.url, 1) as here,
        node(nats.url, 2) as there,
    ):
        await there.follow(5)
        here.bus.publish(numbered(1, 5))
        await there.got(1)
        await nats.kill()
        await until(lambda: not here.is_connected and not there.is_connected)
        here.bus.publish(numbered(2, 5))
        await nats.start()
        await until(lambda: here.is_connected and there.is_connected)
        here.bus.publish(numbered(3, 5))
        await until(lambda: 3 in there.values)

        assert there.gaps == 1
        assert replay(there, 5, here.activities[0].id).lost_through is not None
        assert here.activities[0] in replay(there, 5).activities


@pytest.mark.parametrize("later", [2, 30])
async def test_a_stream_that_is_made_anew_while_the_connections_stand_is_told(
    archive: NatsServer, collection: int, later: int
) -> None:
    """
    The server of a NATS cluster that held it has restarted.

    All events of the new stream are read, whether it has fewer or more messages than the old one had.
    """
    clock = Shifted()
    async with node(archive.url, 1) as here, node(archive.url, 2, clock) as there:
        await make_anew(archive, here)
        await there.follow(collection)
        await publish(here, range(10), collection)
        await there.got(10)
        await make_anew(archive, here)
        await publish(here, range(100, 100 + later), collection)
        clock.ahead += 16
        there.bus.sweep(clock.monotonic())
        await until(lambda: 99 + later in there.values)
        there.bus.sweep(clock.monotonic())

        assert there.values == [*range(10), *range(100, 100 + later)]
        assert there.gaps == 1
        assert there.lost == topics_of([Scope(collection)])
        assert there.metric("bus_connections") == 1
        assert replay(there, collection, here.activities[0].id).lost_through is not None
        assert replay(there, collection, here.activities[10].id).lost_through is None


async def test_a_stream_is_complete_from_its_first_message_on(
    archive: NatsServer, collection: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster says of the stream of a restarted server that it was created when the one before was."""
    monkeypatch.setattr(archive_module, "_BIRTH", 0.0)
    async with node(archive.url, 1) as here:
        other = Client()
        await other.connect(archive.url)
        await other.jetstream().delete_stream(STREAM)
        await other.jetstream().add_stream(name=STREAM, subjects=["span.activity.*.*"], storage=StorageType.MEMORY)
        begun = here.bus.new_id()
        await until(lambda: unix_ms(here.bus.new_id()) > unix_ms(begun) + 10)
        await publish(here, [1], collection)
        await other.close()
        async with node(archive.url, 2) as there:
            await there.follow(collection)

            assert replay(there, collection, begun).lost_through is not None


async def test_the_archive_that_comes_late_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And adapted to the settings of a node that starts. Before that, health says that there is none."""
    monkeypatch.setattr("span_events.bus.nats._LOOK", 0.0)
    async with nats_server(tmp_path, jetstream(tmp_path)) as nats:
        other = Client()
        await other.connect(nats.url)
        await other.jetstream().add_stream(
            name="in-the-way", subjects=["span.activity.*.*"], storage=StorageType.MEMORY
        )
        async with node(nats.url, 1) as here, node(nats.url, 2) as there:
            assert "NATS keeps no history (" in there.bus.health()
            await there.follow(5)
            here.bus.publish(numbered(1, 5))
            await there.got(1)
            await other.jetstream().delete_stream("in-the-way")
            for each in (here, there):
                each.bus.sweep(1e9)
            await until(lambda: here.bus.health() == there.bus.health() == "ok")
            for number in range(2, 30):
                here.bus.publish(numbered(number, 5))
                await asyncio.sleep(0)
            await there.got(29)

            assert there.values == list(range(1, 30))
        async with node(nats.url, 3, events={"history_per_collection": 7}) as changed:
            assert changed.bus.health() == "ok"
            assert (await other.jetstream().stream_info(STREAM)).config.max_msgs_per_subject == 7
        await other.close()


async def test_a_consumer_that_lost_messages_or_fell_silent_is_made_again(
    archive: NatsServer, collection: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the last message on that arrived."""
    monkeypatch.setattr(archive_module, "_HEARTBEAT", 0.1)
    async with node(archive.url, 1) as here, node(archive.url, 2) as there:
        await there.follow(collection)
        here.bus.publish(numbered(1, collection))
        await there.got(1)
        other = Client()
        await other.connect(archive.url)
        for consumer in await other.jetstream().consumers_info(STREAM):
            await other.jetstream().delete_consumer(STREAM, consumer.name)
        here.bus.publish(numbered(2, collection))

        async def swept() -> None:
            while there.values != [1, 2]:
                there.bus.sweep(asyncio.get_running_loop().time())
                await asyncio.sleep(0.01)

        await asyncio.wait_for(swept(), 60)
        await other.close()


@pytest.mark.parametrize("followed", [5, None])
async def test_a_node_that_reads_too_late_tells_its_subscribers(tmp_path: Path, followed: int | None) -> None:
    """The archive discards the oldest of a collection, whether all nodes have read it or not."""
    limits = {"history_per_collection": 5}
    async with (
        nats_server(tmp_path, jetstream(tmp_path)) as nats,
        node(nats.url, 1, events=limits) as here,
        node(nats.url, 2, events=limits) as there,
    ):
        await there.follow(followed)
        await there.follow(6)
        for number in range(200):  # alternating: a NATS message each
            here.bus.publish(numbered(number, 5) if number % 2 else alarm(5))
        await until(lambda: 199 in there.values)
        there.bus.sweep(0.0)

        assert there.lost == topics_of([Scope(followed)])
        assert len(there.activities) < 200


async def test_a_busy_stream_of_everything_is_no_gap(archive: NatsServer, collection: int) -> None:
    """The archive discards per collection: events of many collections may wait."""
    limits = {"history_per_collection": 5}
    async with node(archive.url, 1, events=limits) as here, node(archive.url, 2, events=limits) as there:
        await there.follow(None)
        for number in range(200):
            here.bus.publish(numbered(number, collection + number))
        await there.got(200)
        there.bus.sweep(0.0)

        assert there.gaps == 0


async def test_events_that_the_archive_discarded_during_an_outage_are_a_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other collections needed their room."""
    limits = {"history_octets": 1 << 20}
    async with (
        nats_server(tmp_path, jetstream(tmp_path)) as nats,
        node(nats.url, 1, events=limits) as here,
        node(nats.url, 2, events=limits) as there,
    ):
        await there.follow(5)
        link, is_over = there.bus._link, asyncio.Event()  # type: ignore[attr-defined]
        connect = link._connect

        async def connect_late(*arguments: Any) -> None:
            await is_over.wait()
            await connect(*arguments)

        monkeypatch.setattr(link, "_connect", connect_late)
        await break_off(there)
        here.bus.publish(numbered(1, 5))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        await fill_up(nats)
        here.bus.publish(numbered(2, 5))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        is_over.set()
        await until(lambda: 2 in there.values)
        there.bus.sweep(0.0)

        assert there.values == [2]
        assert there.gaps == 1


@pytest.mark.parametrize("is_new", [False, True])
async def test_routine_does_not_push_warnings_and_errors_out_of_the_archive(tmp_path: Path, is_new: bool) -> None:
    """That of all collections together neither, nor after the stream of all events was made anew."""
    limits = {"history_octets": 1 << 20}
    async with nats_server(tmp_path, jetstream(tmp_path)) as nats, node(nats.url, 1, events=limits) as here:
        here.bus.publish(numbered(1, 5))
        here.bus.publish(alarm(5))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        if is_new:
            await make_anew(nats, here)
            here.bus.publish(alarm(5))
            await until(lambda: here.metric("bus_waiting_bytes") == 0)
        await fill_up(nats)
        async with node(nats.url, 2, events=limits) as there:
            await there.follow(5)
            await until(lambda: replay(there, 5).activities == tuple(here.activities[1:]))
            assert replay(there, 5, here.activities[0].id - 1).lost_through is not None
        async with node(nats.url, 3, events=limits) as there:
            await there.follow(None)

            assert replay(there, 5).activities == tuple(here.activities[1:])


async def test_a_hundred_idle_collections_cost_a_node_nothing(archive: NatsServer) -> None:
    """No consumer, no heartbeat: only what has subscribers has a consumer."""
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(node(archive.url, 1))
        there = await stack.enter_async_context(node(archive.url, 2))
        before = await connections(archive)
        for collection in range(100):
            here.bus.publish(numbered(1, collection))
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        after = await connections(archive)

        assert there.metric("bus_topics") == 0
        assert [each["out_msgs"] for each in after] == [each["out_msgs"] for each in before]


async def publish(at: Node, numbers: Iterable[int], collection: int) -> None:
    """Publish numbered events, with a NATS message for each."""
    for number in numbers:
        at.bus.publish(numbered(number, collection))
        await until(lambda: at.metric("bus_waiting_bytes") == 0)


async def make_anew(nats: NatsServer, at: Node) -> None:
    """Remove the stream of all events, and let a node make it."""
    other = Client()
    await other.connect(nats.url)
    await other.jetstream().delete_stream(STREAM)
    await other.close()
    await at.bus._archive.open(at.bus._link.client)  # type: ignore[attr-defined]


async def fill_up(nats: NatsServer) -> None:
    """Publish more routine than a mebibyte in other collections."""
    other = Client()
    await other.connect(nats.url)
    for number in range(400):
        await other.publish(f"span.activity.c{number}.routine", bytes(5_000))
    await settle(other)
    await other.close()


async def connections(nats: NatsServer) -> list[dict[str, int]]:
    """The connections as the server sees them."""
    found: list[dict[str, int]] = (await nats.ask("connz?sort=cid"))["connections"]
    return found
