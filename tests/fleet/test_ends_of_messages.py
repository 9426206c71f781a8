"""Ends of downstream messages that nodes share: expired, cancelled, or removed with their device; told once."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import make_url
from structlog.testing import capture_logs

from span_events.errors import DatabaseUnavailable, NotFound
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.registry.model import Device, Downstream, DownstreamState
from tests.bench.fleets import CAUSE
from tests.bench.links import behind, online, roof
from tests.bench.nodes import Nodes, known, queued
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import until


async def test_the_message_of_a_dead_node_expires_once(nodes: Nodes, postgresql: PostgresqlServer, url: str) -> None:
    """Its claim ends with its lease; then the leader publishes the failure."""
    one, two = nodes
    two.store.leader.leads = True
    table = f"{make_url(url).username}.nodes"
    await postgresql.execute(f"UPDATE {table} SET leased_until = now() + interval '1 hour'")
    device = await one.device()
    await known(two, device)
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    await until(lambda: two.outbox.waiting == 1)
    await one.outbox.claims.claim(message)
    await two.clock.advance(90 * 86_400)
    await two.outbox.lead()
    held = list(two.names)
    await postgresql.execute(f"UPDATE {table} SET leased_until = now() WHERE holder = '{one.store.node}'")

    await two.outbox.lead()

    assert held == []
    assert [(name, data["reason"]) for name, data in two.published] == [("downstreamFailed", "expired")]


async def test_a_message_expires_once(nodes: Nodes) -> None:
    """Both nodes believe that they lead; the one that claims it first publishes the failure."""
    one, two = nodes
    await queued(nodes, b"open")
    for fleet in nodes:
        fleet.store.leader.leads = True
        fleet.activities.clear()
        fleet.clock.shift(90 * 86_400)
        fleet.outbox.sweep()
    await asyncio.gather(one.outbox.lead(), two.outbox.lead())
    await until(lambda: one.outbox.waiting + two.outbox.waiting == 0)

    assert one.names + two.names == ["downstreamFailed"]


async def test_the_leader_fails_expired_messages_in_slices(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A query for each slice, and one while PostgreSQL is away: other writes need not wait for thousands."""
    one, two = nodes
    device = await one.device()
    await known(two, device)
    messages = [Downstream(each, device.id, b"x", 0) for each in range(1, 251)]
    await one.store.put_downstream(messages)
    for fleet in nodes:
        fleet.outbox.fill(dataclasses.replace(each) for each in messages)
    asked: list[int] = []
    claim = two.store.claim_downstream

    async def count(ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        asked.append(len(ids))
        if len(asked) == 1:
            raise DatabaseUnavailable("PostgreSQL is away")
        return await claim(ids, begins)

    monkeypatch.setattr(two.store, "claim_downstream", count)
    two.store.leader.leads = True
    await one.outbox.lead()
    for fleet in nodes:
        fleet.outbox.sweep()
    with pytest.raises(DatabaseUnavailable):
        await two.outbox.lead()
    while_away = list(two.names)
    await two.outbox.lead()
    await until(lambda: one.outbox.waiting == 0)

    assert asked == [100, 100, 100, 50]
    assert while_away == one.names == []
    assert two.names == ["downstreamFailed"] * 250


async def test_messages_that_fail_with_their_gateway_share_a_query(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many devices the gateway has; a defect in the report of one concerns no other."""
    one, _ = nodes
    gateway = await roof(one)
    devices = [await behind(one, gateway, f"{each:02}") for each in range(3)]
    for each in devices:
        await one.outbox.queue(each, b"x", cause=CAUSE)
    asked: list[int] = []
    claim, failed = one.store.claim_downstream, one.outbox.failed

    async def count(ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        asked.append(len(ids))
        return await claim(ids, begins)

    def fail(device: Device, *args: Any, **named: Any) -> None:
        if device is devices[0]:
            raise RuntimeError("a defect")
        failed(device, *args, **named)

    monkeypatch.setattr(one.store, "claim_downstream", count)
    monkeypatch.setattr(one.outbox, "failed", fail)
    with capture_logs() as logs:
        await one.gateways.update(gateway, GatewayChange(enabled=False), cause=CAUSE)
        await until(lambda: one.outbox.waiting == 1)

    assert asked == [3]
    assert [each["event"] for each in logs if each["log_level"] == "error"] == ["claimed_message_defect"]


async def test_a_node_that_does_not_lead_fails_what_its_gateway_holds(nodes: Nodes) -> None:
    """The leader cannot claim that message."""
    one, two = nodes
    gateway = await roof(one)
    device = await behind(one, gateway)
    await known(two, device)
    fake = online(two, two.directory.gateways[gateway.id])
    fake.link.is_stalled = True
    await one.outbox.queue(device, b"on", cause=CAUSE)
    await until(lambda: fake.link.waiting == 1)
    two.activities.clear()
    two.clock.shift(90 * 86_400)
    two.outbox.sweep()
    await two.outbox.lead()

    assert [(name, data["reason"]) for name, data in two.published] == [("downstreamFailed", "expired")]


async def test_cancelled_and_removed_messages_go_on_every_node(nodes: Nodes) -> None:
    """The other node publishes nothing of it."""
    one, two = nodes
    device = await one.device()
    there = await known(two, device)
    first = await one.outbox.queue(device, b"1", cause=CAUSE)
    await one.outbox.queue(device, b"2", cause=CAUSE)
    await until(lambda: two.outbox.waiting == 2)
    await one.outbox.cancel(device, first.id, cause=CAUSE)
    await until(lambda: two.outbox.waiting == 1)
    (rest,) = two.outbox.list(there, limit=9)
    await one.devices.remove(device, cause=CAUSE)
    await until(lambda: two.outbox.waiting == 0)

    assert rest.payload == b"2"
    assert two.names == []
    assert one.names.count("downstreamFailed") == 2


async def test_of_two_cancellations_at_once_one_finds_no_message(nodes: Nodes) -> None:
    """Both claim the message, as their node may."""
    one, _ = nodes
    device = await one.device()
    message = await one.outbox.queue(device, b"open", cause=CAUSE)
    calls = [one.outbox.cancel(device, message.id, cause=CAUSE) for _ in range(2)]
    first, second = await asyncio.gather(*calls, return_exceptions=True)

    assert first is message
    assert isinstance(second, NotFound)


async def test_a_message_that_another_node_has_sent_can_be_deleted(nodes: Nodes) -> None:
    """Its node had no notice of that before the attempt to claim the message."""
    one, two = nodes
    (message,), (same,) = await queued(nodes, b"open")
    sent = dataclasses.replace(message, state=DownstreamState.SENT)
    await one.store.put_downstream([sent])
    await two.outbox.cancel(two.directory.devices[same.device_id], same.id, cause=CAUSE)
    await until(lambda: one.outbox.ids() == set())

    assert "downstreamFailed" not in two.names


async def test_a_message_that_left_for_a_gateway_before_its_device_was_removed_is_no_event(nodes: Nodes) -> None:
    """The node that removed the device publishes the failure; the node of the gateway has forgotten both."""
    one, two = nodes
    gateway = await roof(one)
    device = await behind(one, gateway)
    await known(two, device)
    fake = online(two, two.directory.gateways[gateway.id])
    fake.link.is_stalled = fake.link.is_handed_on = True
    await one.outbox.queue(device, b"on", cause=CAUSE)
    await until(lambda: fake.link.waiting == 1)
    await one.devices.remove(device, cause=CAUSE)
    await until(lambda: two.outbox.waiting == 0)
    fake.flow()

    assert "downstreamFailed" in one.names
    assert "downstreamMessage" not in two.names
