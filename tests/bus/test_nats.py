"""NATS between nodes: what each node subscribes to, and what happens when NATS fails."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from structlog.testing import capture_logs

from span_events.bus import link, wire
from span_events.bus.arrivals import Arrivals
from span_events.bus.base import NoAnswer, topics_of
from span_events.bus.link import Link
from span_events.clock import SystemClock
from span_events.config import BusConfig
from span_events.events.filters import Scope
from span_events.ids import render
from tests.bench.peers.nats import NatsServer, nats_server
from tests.bench.waiting import PATIENCE, until
from tests.bus.nodes import COLLECTION, Shifted, alarm, break_off, message, node, numbered

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", name="client")
async def plain_client(nats: NatsServer) -> AsyncIterator[Client]:
    """A client that is no node."""
    client = Client()
    await client.connect(nats.url)
    yield client
    await client.close()


async def subscriptions(nats: NatsServer) -> list[str]:
    """The subjects of events that have a subscription."""
    page = await nats.ask("subsz?subs=1")
    return sorted(each["subject"] for each in page["subscriptions_list"] if each["subject"].startswith("span."))


# ---- interest ---------------------------------------------------------------------------------


async def test_a_node_subscribes_to_what_its_subscribers_need(nats: NatsServer) -> None:
    """Until a minute after the last of them: one that returns finds its collection here."""
    clock, name = Shifted(), render(COLLECTION)
    async with node(nats.url, clock=clock) as there:
        assert await subscriptions(nats) == []

        await there.follow(COLLECTION)
        await there.follow(COLLECTION)
        assert await subscriptions(nats) == [f"span.activity.{name}.*"]

        there.unfollow(COLLECTION)
        there.unfollow(COLLECTION)
        clock.ahead += 59
        there.bus.sweep(clock.monotonic())
        assert there.metric("bus_topics") == 1

        clock.ahead += 2
        there.bus.sweep(clock.monotonic())
        await until_subscribed(nats, f"span.activity.{name}.*", False)


async def test_idle_collections_cost_no_traffic(nats: NatsServer) -> None:
    """A node without subscribers gets nothing of a hundred busy collections."""
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        for collection in range(100):
            here.bus.publish(numbered(1, collection))
        here.bus.publish(numbered(2))
        await there.got(1)
        page = await nats.ask("connz")

        assert there.values == [2]
        assert sorted(each["out_msgs"] for each in page["connections"]) == [0, 1]


async def test_one_event_for_ten_nodes_is_published_once(nats: NatsServer) -> None:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(node(nats.url))
        others = [await stack.enter_async_context(node(nats.url, number)) for number in range(1, 11)]
        for each in others:
            await each.follow(COLLECTION)
        before = await nats.ask("varz")
        here.bus.publish(numbered(1))
        for each in others:
            await each.got(1)
        after = await nats.ask("varz")

    assert (after["in_msgs"] - before["in_msgs"], after["out_msgs"] - before["out_msgs"]) == (1, 10)


async def test_a_subscriber_of_everything_beside_one_of_a_collection_doubles_nothing(nats: NatsServer) -> None:
    """Neither when it comes nor when it leaves, and nothing is missing."""
    clock = Shifted()
    async with node(nats.url, 1) as here, node(nats.url, 2, clock) as there:
        sent = 0

        def send() -> None:
            nonlocal sent
            for _ in range(20):
                here.bus.publish(numbered(sent))
                sent += 1

        await there.follow(COLLECTION)
        send()
        await there.follow(None)
        send()
        await until(lambda: len(there.activities) == 40)
        there.unfollow(None)
        clock.ahead += 61
        there.bus.sweep(clock.monotonic())
        send()
        while "span.activity.*.*" in await subscriptions(nats):
            send()
        send()
        await until(lambda: len(there.activities) >= sent)

        assert there.values == list(range(sent))


async def test_busy_events_are_joined(nats: NatsServer) -> None:
    """Those of one turn of the event loop share a NATS message."""
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        before = await nats.ask("varz")
        for number in range(500):
            here.bus.publish(numbered(number))
        await there.got(500)
        after = await nats.ask("varz")

    assert there.values == list(range(500))
    assert after["in_msgs"] - before["in_msgs"] <= 4


# ---- faults -----------------------------------------------------------------------------------


async def test_nats_is_killed_under_load(nats: NatsServer) -> None:
    """Each node goes on alone; when NATS is back, they are together in the printed time, and subscribers are told."""
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        for number in range(100):
            here.bus.publish(numbered(number))
        await there.got(100)
        await nats.kill()
        await until(lambda: not here.is_connected and not there.is_connected)
        for number in range(100, 200):
            here.bus.publish(numbered(number))

        assert here.values == list(range(200))
        assert here.bus.health().startswith("degraded: no connection to NATS (")
        with pytest.raises(NoAnswer, match="away"):
            await here.bus.ask("gateway.1", b"", 1.0)

        await nats.start()
        back = time.monotonic()
        await until(lambda: here.is_connected and there.is_connected)
        print(f"{time.monotonic() - back:.1f} s until both nodes are connected")  # noqa: T201  # see `pytest -rP`
        assert here.gaps == 0  # nobody follows anything here
        assert there.lost == topics_of([Scope(COLLECTION)])

        here.bus.publish(numbered(200))
        await until(lambda: 200 in there.values)
        assert there.values[:100] == list(range(100))


async def test_what_waits_for_nats_is_bounded_and_what_found_no_room_is_counted(nats: NatsServer) -> None:
    async with node(nats.url, 1, buffer=2_000) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        await nats.kill()
        await until(lambda: not here.is_connected and not there.is_connected)
        for number in range(1_000):
            here.bus.publish(numbered(number))
        lost = here.metric("bus_lost")["buffer"]

        assert 900 < lost < 1_000
        assert 0 < here.metric("bus_waiting_bytes") <= 2_000

        await nats.start()
        await until(lambda: here.is_connected and there.is_connected)
        await until(lambda: here.metric("bus_waiting_bytes") == 0)
        assert here.metric("bus_sent") == 1_000 - lost


async def test_a_server_that_stops_reading_is_left(nats: NatsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection stays open and takes no octets: round trips show that."""
    monkeypatch.setattr(link, "_PROBE", 0.05)
    monkeypatch.setattr(link, "_ANSWER", 0.5)
    async with node(nats.url, buffer=1 << 20) as here:
        nats.freeze()
        try:
            for _ in range(200):
                here.bus.forward(message(here.bus.new_id(), bytes(65_536)))
                await asyncio.sleep(0)
            await until(lambda: not here.is_connected)
        finally:
            nats.thaw()
        await until(lambda: here.is_connected)

        assert here.metric("bus_lost")["connection"] > 0


async def test_a_server_that_starts_without_nats_goes_on_alone(tmp_path: Path) -> None:
    """And joins the others as soon as it can."""
    server = NatsServer(tmp_path)
    async with node(server.url) as here:
        here.bus.publish(numbered(1))
        assert here.values == [1]
        assert "degraded" in here.bus.health()

        await server.start()
        try:
            await until(lambda: here.is_connected)
        finally:
            await server.kill()


async def test_damage_and_strangers_on_the_subjects_are_counted(nats: NatsServer, client: Client) -> None:
    """Whatever comes, the next event is read."""
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        await there.follow(COLLECTION, messages=True)
        name = render(COLLECTION)
        for octets in (
            b"",
            b"\n",
            b"x\n{}",
            b"x\n[1,2]\n\xff",
            b"x\n" + b"[" * 100_000,
            b'x\n[1,1,"brandNew",1,1,1,1,1,{}]',
        ):
            await client.publish(f"span.activity.{name}.alarm", octets)
            await client.publish(f"span.messages.{name}", octets)
        await until(lambda: there.metric("bus_skipped") == {"unknown": 1, "malformed": 11, "foreign": 0})
        here.bus.publish(numbered(1))
        await there.got(1)

        assert there.values == [1]
        assert there.messages == []


async def test_an_event_that_nats_refuses_is_counted(tmp_path: Path) -> None:
    """Its operator lowered max_payload."""
    async with (
        nats_server(tmp_path, "max_payload: 4096") as small,
        node(small.url, 1) as here,
        node(small.url, 2) as there,
    ):
        await there.follow(COLLECTION, messages=True)
        here.bus.forward(message(here.bus.new_id(), bytes(8_000)))
        here.bus.forward(message(here.bus.new_id(), b"short"))
        await until(lambda: bool(there.messages))

        assert [each.payload for each in there.messages] == [b"short"]
        assert here.metric("bus_lost")["size"] == 1


async def test_a_node_that_falls_behind_loses_and_tells(nats: NatsServer) -> None:
    """nats-py discards what a subscription cannot hold."""
    async with node(nats.url, 1) as here, node(nats.url, 2, pending_messages=1) as there:
        await there.follow(COLLECTION, COLLECTION + 1)
        for number in range(100):  # alternating: a NATS message each
            here.bus.publish(numbered(number) if number % 2 else alarm())
        await until(lambda: there.metric("bus_cut") > 0)
        there.bus.sweep(0.0)

        assert there.lost == topics_of([Scope(COLLECTION)])


# ---- defects ----------------------------------------------------------------------------------


async def test_a_topic_whose_last_minute_ends_during_a_new_connection_is_skipped(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sweep forgets it while the node waits for NATS."""
    clock = Shifted()
    async with node(nats.url, 1) as here, node(nats.url, 2, clock) as there:
        await there.follow(COLLECTION)
        await there.follow(COLLECTION + 1)
        there.unfollow(COLLECTION + 1)
        subscribe = Link.subscribe

        async def subscribe_slowly(*arguments: Any) -> Subscription:
            clock.ahead += 61
            there.bus.sweep(clock.monotonic())
            return await subscribe(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(Link, "subscribe", subscribe_slowly)
            await break_off(there)
            await until(lambda: there.is_connected)
        here.bus.publish(numbered(1))
        await there.got(1)

        assert there.bus.failures == 0
        assert there.metric("bus_topics") == 1


async def test_a_defect_of_the_bus_ends_the_connection_and_not_the_node(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_LONGEST_PAUSE", 0.05)
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        reconcile = Arrivals.reconcile

        async def fail(*arguments: Any) -> None:
            monkeypatch.setattr(Arrivals, "reconcile", reconcile)
            raise KeyError("created")

        monkeypatch.setattr(Arrivals, "reconcile", fail)
        await there.follow(COLLECTION)
        await until(lambda: there.metric("bus_connections") == 2)
        here.bus.publish(numbered(1))
        await there.got(1)

        assert there.bus.failures == 1


async def test_a_connection_that_fails_while_it_is_set_up_leaves_no_subscriptions(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one subscribes to everything, so that this node answers requests again."""

    async def answer(data: bytes) -> bytes:
        return b"here"

    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        there.bus.serve("gateway.1", answer)
        await there.follow(COLLECTION)
        await until_subscribed(nats, "span.gateway.1")
        reconcile = Arrivals.reconcile

        async def fail(*arguments: Any) -> None:
            monkeypatch.setattr(Arrivals, "reconcile", reconcile)
            raise TimeoutError

        monkeypatch.setattr(Arrivals, "reconcile", fail)
        await break_off(there)
        await until(lambda: there.is_connected)
        here.bus.publish(numbered(1))
        await there.got(1)

        assert await here.bus.ask("gateway.1", b"", PATIENCE) == b"here"


async def test_a_defect_in_the_reading_of_a_message_is_counted_and_the_next_is_read(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nats-py catches what a callback raises."""
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)

        def fail(data: bytes) -> None:
            raise RuntimeError("no")

        with monkeypatch.context() as patch:
            patch.setattr(wire, "unpack", fail)
            here.bus.publish(numbered(1))
            await until(lambda: there.bus.failures == 1)
        here.bus.publish(numbered(2))
        await there.got(1)

        assert there.values == [2]
        assert there.bus.health().startswith("degraded: NATS keeps no history (JetStream is off)")


@pytest.mark.parametrize("reply", [b"", b"[]", b"{}", b'{"config": 1}', b'{"config": {}, "state": {}, "created": 1}'])
async def test_replies_of_jetstream_that_are_damaged_mean_no_archive(
    nats: NatsServer, client: Client, reply: bytes
) -> None:
    async def answer(request: Msg) -> None:
        await request.respond(reply)

    await client.subscribe("$JS.API.>", cb=answer)
    await client.flush()
    with capture_logs() as lines:
        async with node(nats.url) as there:
            assert "NATS keeps no history (" in there.bus.health()
    (hint,) = [each["hint"] for each in lines if each["event"] == "history_of_this_node_only"]
    assert "max_memory_store" in hint

    async with node(nats.url, 1) as here, node(nats.url, 2) as there:
        await there.follow(COLLECTION)
        here.bus.publish(numbered(1))
        await there.got(1)

        assert there.bus.failures == 0


# ---- late subscriptions -----------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 3])
async def test_a_subscription_that_takes_seconds_is_told_as_a_gap(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    """Without an archive, what came before it is lost; one that is quick is no gap."""
    monkeypatch.setattr("span_events.bus.nats._PATIENCE", 0.0)
    clock, is_late, subscribe = Shifted(), asyncio.Event(), Link.subscribe

    async def subscribe_late(*arguments: Any) -> Subscription:
        await is_late.wait()
        return await subscribe(*arguments)

    monkeypatch.setattr(Link, "subscribe", subscribe_late)
    async with node(nats.url, 1) as here, node(nats.url, 2, clock) as there:
        await there.follow(COLLECTION)
        clock.ahead += seconds
        is_late.set()
        await until_subscribed(nats, f"span.activity.{render(COLLECTION)}.*")
        here.bus.publish(numbered(1))
        await there.got(1)
        there.bus.sweep(clock.monotonic())

        assert there.gaps == (1 if seconds else 0)


async def test_a_handler_that_fails_is_our_defect_and_the_node_goes_on(nats: NatsServer) -> None:
    async with node(nats.url, 1) as here, node(nats.url, 2) as there:

        async def fail(data: bytes) -> bytes:
            raise RuntimeError("no")

        there.bus.serve("gateway.1", fail)
        await until_subscribed(nats, "span.gateway.1")
        with pytest.raises(NoAnswer):
            await here.bus.ask("gateway.1", b"", 0.05)

        assert there.bus.failures == 1


async def until_subscribed(nats: NatsServer, subject: str, is_subscribed: bool = True) -> None:
    """Wait until a subject has a subscription, or has none."""
    async with asyncio.timeout(PATIENCE):
        while (subject in await subscriptions(nats)) is not is_subscribed:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.001)


async def test_work_that_fails_as_it_is_cancelled_is_no_defect(nats: NatsServer) -> None:
    """It may be in the middle of a request over the connection that has ended."""
    defects: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: defects.append(context))

    async def fails(_client: Client) -> None:
        await asyncio.sleep(0)
        raise ConnectionError("the connection has ended")

    async def fails_later(_client: Client) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ConnectionError("so has ours") from None

    async def on_up(_client: Client) -> None: ...

    work, nothing = (fails, fails_later), lambda *_: None
    ended = asyncio.Event()
    held = Link(
        BusConfig(url=nats.url),
        SystemClock(),
        on_up=on_up,
        on_down=ended.set,
        work=work,
        on_slow=nothing,
        on_defect=nothing,
    )
    running = asyncio.create_task(held.run())
    await ended.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    gc.collect()
    await asyncio.sleep(0)
    loop.set_exception_handler(None)

    assert held.connections == 1
    assert defects == []
