"""Downstream messages of nodes that share a registry: known to all, and sent by exactly one."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from span_events.config import CoapConfig, DatagramsConfig, MessagesConfig
from span_events.errors import Conflict, DatabaseUnavailable, StorageUnavailable
from span_events.events.message import Transport
from span_events.ids import render
from span_events.listeners.coap.coap import Coap
from span_events.listeners.datagrams import Datagrams
from span_events.registry.model import Downstream, DownstreamState
from span_events.wire.coap.messages import CoapMessage, Code, Type, encode
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import behind, online, roof
from tests.bench.nodes import Nodes, known, queued
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import until
from tests.listeners.coap.bench import RawClient


def metrics(fleet: FleetBench) -> dict[str, Any]:
    """Return the metrics of downstream messages."""
    return {each.name: each.value() for each in fleet.outbox.metrics()}


async def test_a_message_that_both_nodes_would_send_is_sent_by_one(nodes: Nodes) -> None:
    """The device polls both nodes at once over UDP; the node where the message was posted publishes that."""
    one, two = nodes
    device = await one.device("127.0.0.1")
    await known(two, device)
    for number in range(3):
        await one.outbox.queue(device, b"%d" % number, cause=CAUSE)
    await until(lambda: two.outbox.waiting == 3)
    two_names = list(two.names)
    received: Counter[bytes] = Counter()
    async with AsyncExitStack() as stack:
        clients = []
        for fleet in nodes:
            listener = Datagrams(DatagramsConfig(port=0), reception=fleet.reception, outbox=fleet.outbox)
            await listener.start()
            stack.push_async_callback(listener.stop)
            client = RawClient("127.0.0.1", ("127.0.0.1", int(listener.address.rpartition(":")[2])))
            clients.append(stack.enter_context(closing(client)))
        for _ in range(3):
            before = received.total()
            for client in clients:
                client.send(b"poll")
            while received.total() == before:
                await asyncio.sleep(0)
                received.update(found for client in clients if (found := client.take()) is not None)
            await asyncio.gather(one.outbox.flush(), two.outbox.flush())
        await until(lambda: one.outbox.waiting == two.outbox.waiting == 0)
        await until(lambda: [metrics(each)["downstream_claims_waiting"] for each in nodes] == [0, 0])
        received.update(found for client in clients if (found := client.take()) is not None)

    claimed = [metrics(each)["downstream_claims"] for each in nodes]
    assert received == Counter([b"0", b"1", b"2"])
    assert sum(each["claimed"] for each in claimed) == 3
    assert all(each["failed"] == each["expired"] == 0 for each in claimed)
    assert two_names == []
    assert (one.names + two.names).count("downstreamMessage") == 3
    assert [each.state for each in two.outbox.list(device, limit=9)] == [DownstreamState.SENT] * 3


async def test_a_response_over_coap_waits_for_the_claim(nodes: Nodes) -> None:
    """It carries the message that was posted at the other node; a second poll carries none."""
    one, two = nodes
    device = await one.device("127.0.0.1")
    await known(two, device)
    await one.outbox.queue(device, b"open", cause=CAUSE)
    await until(lambda: two.outbox.waiting == 1)
    listener = Coap(
        CoapConfig(port=0),
        messages=MessagesConfig(),
        reception=two.reception,
        outbox=two.outbox,
        clock=two.clock,
    )
    await listener.start()
    with closing(RawClient("127.0.0.1", ("127.0.0.1", int(listener.address.rpartition(":")[2])))) as client:
        polls = [await client.exchange(encode(CoapMessage(Type.CON, Code.GET, each, b"t"))) for each in (1, 2)]
    await listener.stop()

    assert [(each.code, each.payload) for each in polls] == [(Code.CONTENT, b"open"), (Code.CONTENT, b"")]


async def test_a_message_goes_to_the_gateway_that_another_node_holds(nodes: Nodes) -> None:
    """As soon as it is posted; the node of the gateway publishes that it was sent."""
    one, two = nodes
    gateway = await roof(one)
    device = await behind(one, gateway)
    await known(two, device)
    fake = online(two, two.directory.gateways[gateway.id])
    two.activities.clear()
    message = await one.outbox.queue(device, b"on", cause=CAUSE)
    await until(lambda: "downstreamMessage" in two.names)
    await two.outbox.flush()
    await until(lambda: message.state is DownstreamState.SENT)

    assert fake.take() == [("downstream_message", (render(device.id), b"on"))]
    assert two.names == ["gatewayDownstreamMessage", "downstreamMessage"]
    assert "downstreamMessage" not in one.names


async def test_the_claim_of_a_dead_node_is_taken_over(nodes: Nodes, postgresql: PostgresqlServer, url: str) -> None:
    """A node is dead when its lease has ended; until then the message is its own, and cannot be cancelled elsewhere."""
    one, two = nodes
    device = await one.device()
    there = await known(two, device)
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    await until(lambda: two.outbox.waiting == 1)
    (same,) = two.outbox.list(there, limit=1)
    claims = [await one.outbox.claims.claim(message), await two.outbox.claims.claim(same)]
    with pytest.raises(Conflict, match="is being sent by another node"):
        await two.outbox.cancel(there, message.id, cause=CAUSE)
    table, node = f"{make_url(url).username}.nodes", one.store.node
    await postgresql.execute(f"UPDATE {table} SET leased_until = now() - interval '1 s' WHERE holder = '{node}'")
    claims.append(await two.outbox.claims.claim(same))

    assert claims == [True, False, True]
    assert metrics(two)["downstream_claims"] == {"claimed": 1, "lost": 2, "failed": 0, "expired": 0}


async def test_a_message_that_is_gone_does_not_hold_up_the_next(nodes: Nodes) -> None:
    """Its deletion was not noticed here; the attempt to claim it finds out."""
    one, _ = nodes
    device = await one.device()
    gone = await one.outbox.queue(device, b"gone", cause=CAUSE)
    following = await one.outbox.queue(device, b"following", cause=CAUSE)
    await one.store.delete_downstream([gone.id])
    was_first = one.outbox.next_for(device)

    assert not await one.outbox.claims.claim(gone)
    assert (was_first, one.outbox.next_for(device)) == (gone, following)


async def test_a_claim_that_was_not_used_is_given_back(nodes: Nodes) -> None:
    """The device went to another node; a claim without use ends before the lease of its node may end, after 7 s."""
    one, two = nodes
    device = await one.device()
    await known(two, device)
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    await until(lambda: two.outbox.waiting == 1)
    (same,) = two.outbox.list(device, limit=1)
    assert await one.outbox.claims.claim(message)
    await one.clock.advance(6)
    one.outbox.sweep()
    await one.outbox.flush()

    assert await two.outbox.claims.claim(same)
    assert metrics(one)["downstream_claims"] == {"claimed": 1, "lost": 0, "failed": 0, "expired": 1}


async def test_the_age_of_a_claim_counts_from_the_question(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer may take seconds, and the lease that the claim lasts with does not wait for it."""
    one, _ = nodes
    message = await one.outbox.queue(await one.device(), b"open", cause=CAUSE)
    claim = one.store.claim_downstream

    async def answer_late(ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        claimed = await claim(ids, begins)
        one.clock.shift(4)
        return claimed

    monkeypatch.setattr(one.store, "claim_downstream", answer_late)
    assert await one.outbox.claims.claim(message)
    one.clock.shift(1)
    one.outbox.sweep()

    assert not one.outbox.claims.holds(message)


async def test_a_claim_does_not_age_while_it_waits_for_other_writes(nodes: Nodes) -> None:
    """A slow PostgreSQL makes writes wait for longer than a claim holds: the message would never be sent."""
    one, _ = nodes
    message = await one.outbox.queue(await one.device(), b"open", cause=CAUSE)
    sent: list[str] = []
    under_way, may_end = asyncio.Event(), asyncio.Event()

    async def other(_: object) -> None:
        under_way.set()
        await may_end.wait()

    writing = asyncio.create_task(one.store._database.write(other))
    await under_way.wait()
    one.outbox.claimed(message, lambda: sent.append("one"))
    await until(lambda: len(one.store._database._writes) == 2)
    one.clock.shift(20)
    may_end.set()
    await writing
    await until(lambda: one.outbox.claims.is_free(message.id))

    assert sent == ["one"]


async def test_a_claim_that_is_made_anew_before_it_is_given_back_is_kept(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device comes after its claim expired: before the registry is told, meanwhile, or while that fails."""
    one, two = nodes
    ours, others = await queued(nodes, b"1", b"2", b"3", b"4")
    early, before, late, last = ours
    claim, flush = one.outbox.claims.claim, one.outbox.flush
    assert await one.outbox.claims.claim_all(ours) == ours
    one.clock.shift(6)
    one.outbox.sweep()

    async def fail(*_: object) -> None:
        assert await claim(last)
        raise DatabaseUnavailable("the connection was lost")

    with monkeypatch.context() as patched:
        patched.setattr(one.store, "settle_downstream", fail)
        with pytest.raises(DatabaseUnavailable):
            await flush()
    assert await claim(early)
    again = list(await asyncio.gather(claim(before), flush(), claim(late)))
    await flush()

    assert again == [True, None, True]
    assert await two.outbox.claims.claim_all(others) == []


async def test_a_claim_whose_answer_was_lost_is_given_back(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL has written the claim, and the node does not know; the message must not wait for the node's end."""
    one, two = nodes
    ours, others = await queued(nodes, b"1", b"2")
    claim = one.store.claim_downstream
    losses: list[BaseException] = [DatabaseUnavailable("the connection was lost"), asyncio.CancelledError()]

    async def lose(ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        await claim(ids, begins)
        raise losses[-1]

    with monkeypatch.context() as patched:
        patched.setattr(one.store, "claim_downstream", lose)
        for message in ours:
            with pytest.raises(type(losses[-1])):
                await one.outbox.claims.claim(message)
            losses.pop()
    before = await two.outbox.claims.claim_all(others)
    await one.outbox.flush()

    assert before == []
    assert await two.outbox.claims.claim_all(others) == others


async def test_a_node_that_stood_still_claims_anew(nodes: Nodes, postgresql: PostgresqlServer, url: str) -> None:
    """Its lease ended meanwhile, and the other node sent the message: it may not be sent again."""
    one, two = nodes
    (message,), (same,) = await queued(nodes, b"open")
    await one.outbox.claims.claim(message)
    table, node = f"{make_url(url).username}.nodes", one.store.node
    await postgresql.execute(f"UPDATE {table} SET leased_until = now() - interval '1 s' WHERE holder = '{node}'")
    one.clock.shift(20)
    sent: list[str] = []
    assert await two.outbox.claims.claim(same)
    one.outbox.claimed(message, lambda: sent.append("one"))
    await until(lambda: metrics(one)["downstream_claims"]["lost"] == 1 and one.outbox.claims.is_free(message.id))

    assert sent == []


async def test_a_claim_renews_the_lease_that_it_lasts_for(nodes: Nodes, postgresql: PostgresqlServer, url: str) -> None:
    """After an outage of PostgreSQL, a claim may come before the node has renewed its lease."""
    one, two = nodes
    (message,), (same,) = await queued(nodes, b"open")
    await postgresql.execute(f"UPDATE {make_url(url).username}.nodes SET leased_until = now() - interval '1 s'")

    assert await one.outbox.claims.claim(message)
    assert not await two.outbox.claims.claim(same)


@contextmanager
def lines_run() -> Iterator[Counter[str]]:
    """Count the lines that this thread runs, by name of function; a loop's line counts at each turn."""
    lines: Counter[str] = Counter()

    def count(frame: FrameType, event: str, _: object) -> object:
        if event == "line":
            lines[frame.f_code.co_qualname] += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]  # a local trace function is any callable
    try:
        yield lines
    finally:
        sys.settrace(before)


async def test_a_message_of_another_node_costs_the_same_however_many_are_in_memory(bench: FleetBench) -> None:
    """Each node shows each message that any node queued or sent; the cost is the lines of Python that run."""
    device = await bench.device()
    shown = Downstream(1, device.id, b"on", 0, state=DownstreamState.SENT)

    def cost() -> int:
        with lines_run() as lines:
            bench.outbox.show([shown], {shown.id}, cause=CAUSE)
        return lines.total()

    few = cost()
    bench.outbox.fill(Downstream(each, each, b"", 0, state=DownstreamState.SENT) for each in range(2, 10_000))

    assert 0 < cost() < 2 * few


async def test_a_message_whose_deletion_is_being_written_is_not_shown_again(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row is there until the commit, and may be read meanwhile."""
    one, _ = nodes
    device = await one.device()
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    row, settle = dataclasses.replace(message), one.store.settle_downstream

    async def slow(messages: Sequence[Downstream], deleted: Sequence[int], released: Sequence[int]) -> None:
        one.outbox.show([row], {row.id}, cause=CAUSE)
        await settle(messages, deleted, released)

    monkeypatch.setattr(one.store, "settle_downstream", slow)
    await one.outbox.cancel(device, message.id, cause=CAUSE)

    assert one.outbox.list(device, limit=9) == []


async def test_without_postgresql_a_message_waits(nodes: Nodes) -> None:
    """It is sent when the registry is back. A chatty device causes a line a minute in the log, not one per poll."""
    one, _ = nodes
    device = await one.device()
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    await one.store.close()
    with capture_logs() as logs:
        claims = [await one.outbox.claims.attempt(message) for _ in range(3)]
        one.clock.shift(61)
        claims.append(await one.outbox.claims.attempt(message))
    with pytest.raises(StorageUnavailable):  # the API answers 503
        await one.outbox.cancel(device, message.id, cause=CAUSE)
    lines = [each["count"] for each in logs if each["event"] == "message_not_claimed"]

    assert claims == [False] * 4
    assert metrics(one)["downstream_claims"] == {"claimed": 0, "lost": 0, "failed": 5, "expired": 0}
    assert lines == [1, 3]
    assert one.outbox.next_over(device, Transport.UDP) is message
