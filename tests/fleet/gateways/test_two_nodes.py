"""A gateway that connects to one node after another: its older session ends, whatever its connection looks like."""

from __future__ import annotations

from span_events.events.reasons import GatewayReason
from span_events.registry.model import Gateway
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway, behind, online, roof
from tests.bench.waiting import until

Nodes = tuple[FleetBench, FleetBench]


async def known(one: FleetBench, two: FleetBench) -> tuple[Gateway, Gateway]:
    """Make a gateway with a device; return it as each node has it."""
    gateway = await roof(one)
    device = await behind(one, gateway)
    await until(lambda: device.id in two.directory.devices)
    return gateway, two.directory.gateways[gateway.id]


async def test_a_half_open_connection_ends_when_the_gateway_is_at_another_node(nodes: Nodes) -> None:
    """Messages under way to the old connection go to the new one, and so do all later ones."""
    one, two = nodes
    here, there = await known(one, two)
    (device,) = one.directory.devices.values()
    ghost = online(one, here)
    ghost.link.is_stalled = True
    await one.outbox.queue(device, b"first", cause=CAUSE)
    await until(lambda: ghost.link.waiting == 1)
    two.clock.shift(1)
    fresh = online(two, there)
    await two.gateways.flush()
    await until(lambda: not here.is_online)
    one.clock.shift(6)
    one.sweep()
    await one.outbox.flush()
    await one.outbox.queue(device, b"second", cause=CAUSE)
    await until(lambda: two.names.count("downstreamMessage") == 2)

    assert ghost.link.ends == [GatewayReason.REPLACED]
    assert dict(one.published)["gatewayDisconnected"]["reason"] == "replaced"
    assert [payload for _, (_, payload) in fresh.take()] == [b"first", b"second"]
    assert there.is_online


async def test_the_newer_of_two_sessions_stays_in_whatever_order_nodes_hear_of_them(nodes: Nodes) -> None:
    """Both nodes tell the other of a session at the same moment; a notice may also come late."""
    one, two = nodes
    here, there = await known(one, two)
    older = FakeGateway(one, here)
    two.clock.shift(1)
    newer = FakeGateway(two, there)
    await two.gateways.flush()
    await one.gateways.flush()
    await until(lambda: older.session.is_over)
    two.gateway_sessions.began_elsewhere(there.id, older.session.id)

    assert not newer.session.is_over


async def test_two_programs_with_one_certificate_at_two_nodes_both_stay(nodes: Nodes) -> None:
    """After three replacements in a minute, with a warning; otherwise they would replace each other for ever."""
    one, two = nodes
    here, _ = await known(one, two)
    sessions = []
    for _ in range(4):
        sessions.append(FakeGateway(one, here, address="10.1.0.1").session)
        one.gateway_sessions.began_elsewhere(here.id, one.bus.new_id())
    warnings = [data for name, data in one.published if name == "gatewayCommError"]

    assert [each.is_over for each in sessions] == [True, True, True, False]
    assert [(each["reason"], each["error"]) for each in warnings] == [
        ("identityConflict", "connections from 10.1.0.1:5000 and another node replace each other")
    ]
