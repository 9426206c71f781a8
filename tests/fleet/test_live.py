"""Live values: what only the node has that serves a device or a gateway, asked for by another node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from span_events.errors import StorageUnavailable
from span_events.events.message import Transport
from span_events.events.reasons import OutputReason
from span_events.fleet.live import LiveValues, Values
from span_events.fleet.others import OtherNodes
from span_events.fleet.outputs.everywhere import HealthEverywhere
from span_events.fleet.outputs.health import Failure
from span_events.fleet.outputs.outputs import OutputChange
from span_events.registry.model import Collection, Device, Gateway, Traffic
from span_events.registry.outputs import OutputType
from tests.bench.clock import START_NS
from tests.bench.fleets import FleetBench
from tests.bench.waiting import until

Nodes = tuple[FleetBench, FleetBench]


def asking(nodes: Nodes) -> LiveValues:
    """Return the live values of the first node, whose questions reach the second one."""
    one, two = nodes
    others = OtherNodes(bus=two.bus, registry=one.registry)
    return LiveValues(others, directory=one.directory, inbox=one.reception.inbox)


async def known(nodes: Nodes) -> tuple[Collection, Device, Gateway]:
    """Make a collection with a device and a gateway at the first node; return those of the second node."""
    one, two = nodes
    collection = await one.collection()
    device, gateway = await one.device("10.0.0.9", collection), await one.gateway(collection)
    await until(lambda: device.id in two.directory.devices and gateway.id in two.directory.gateways)
    return collection, two.directory.devices[device.id], two.directory.gateways[gateway.id]


def receive(node: FleetBench, device: Device, payload: bytes) -> None:
    """Let a message of a device come in at a node."""
    node.reception.received(device, payload, remote=("10.0.0.9", 4000), transport=Transport.UDP, local_port=1234)


async def test_counters_connections_and_messages_come_from_the_node_that_has_them(nodes: Nodes) -> None:
    collection, device, gateway = await known(nodes)
    nodes[1].others.serve()
    receive(nodes[1], device, b"seven!!")
    gateway.is_online = True
    gateway.traffic.upstream(3)
    live = asking(nodes)
    values = await live.values(collection)
    of_device = await live.values(collection, of=device.id)
    (message,) = await live.messages(
        collection, device_id=device.id, limit=10, before_id=None, start_ms=None, end_ms=None
    )

    assert (values.devices.bytes_upstream, values.gateways.bytes_upstream, values.online) == (7, 3, {gateway.id})
    assert (of_device.devices, of_device.gateways.bytes_upstream) == (values.devices, 0)
    assert message.payload == b"seven!!"


async def test_times_of_messages_and_the_health_of_outputs_are_those_of_all_nodes(nodes: Nodes) -> None:
    """Each node forwards what its own devices sent, and notes its own failures."""
    one, two = nodes
    collection, device, _ = await known(nodes)
    webhook = OutputChange(type=OutputType.WEBHOOK, config={"url": "http://127.0.0.1/"})
    output = await one.outputs.create(collection, webhook)
    await until(lambda: two.directory.outputs.get(output.id) == output)
    two.others.serve()
    two.clock.shift(5)
    receive(two, device, b"1")
    receive(one, one.directory.devices[device.id], b"2")
    one.outputs_health.delivered(output, "target", items=2, octets=20)
    two.outputs_health.delivered(output, "target", items=3, octets=30)
    two.outputs_health.failed(output, "target", Failure(OutputReason.TIMEOUT))
    one.clock.shift(9)
    one.outputs_health.failed(output, "target", Failure(OutputReason.REFUSED))
    one.outputs_health.delivered(output, "target", items=1, octets=1)
    everywhere = HealthEverywhere(
        one.outputs_health, OtherNodes(bus=two.bus, registry=one.registry), directory=one.directory
    )
    health = await everywhere.total([output], logged=True)
    times = await asking(nodes).times(collection)

    assert times == ([ms(0), ms(5)], [])
    assert (health.forwarded, health.bytes_forwarded, health.errors) == (6, 51, 2)
    assert health.failing_since is not None
    assert [(each.time_ms, each.message) for each in health.log] == [(ms(5), "timeout"), (ms(9), "refused")]


def ms(seconds: int) -> int:
    """Return a time of the clocks, seconds after their start."""
    return START_NS // 1_000_000 + 1000 * seconds


async def test_an_answer_has_as_many_messages_as_the_bus_carries_the_newest_ones(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("span_events.fleet.live._LARGEST", 500)
    collection, device, _ = await known(nodes)
    nodes[1].others.serve()
    for number in range(5):
        receive(nodes[1], device, bytes([number]) * 100)
    found = await asking(nodes).messages(
        collection, device_id=None, limit=10, before_id=None, start_ms=None, end_ms=None
    )

    assert 0 < len(found) < 5
    assert found[0].payload == b"\4" * 100


async def test_a_node_that_does_not_answer_is_left_out(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is gone, and one that hangs; and PostgreSQL, which knows the nodes, may be away."""
    monkeypatch.setattr("span_events.fleet.others._WITHIN", 0.01)
    collection, _, _ = await known(nodes)
    live, two = asking(nodes), nodes[1]
    gone = await live.values(collection)

    async def hang(_question: bytes) -> bytes:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    two.bus.serve(f"node.{two.registry.store.node}", hang)
    hanging = await live.values(collection)

    async def away() -> list[str]:
        raise StorageUnavailable("PostgreSQL is away")

    monkeypatch.setattr(nodes[0].registry.store.number, "others", away)

    assert gone == hanging == await live.values(collection) == Values()


async def test_a_question_about_one_device_or_gateway_walks_no_collection(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collection may have 100,000 devices, and every node is asked; a list of gateways needs no counters."""
    collection, device, gateway = await known(nodes)
    nodes[1].others.serve()
    receive(nodes[1], device, b"seven!!")
    gateway.traffic.upstream(3)
    gateway.is_online = True
    walked: list[int] = []

    def devices_of(collection_id: int) -> Iterator[Device]:
        walked.append(collection_id)
        return iter(())

    monkeypatch.setattr(nodes[1].directory, "devices_of", devices_of)
    live = asking(nodes)
    of_device = await live.values(collection, of=device.id)
    of_gateway = await live.values(collection, of=gateway.id)
    online = await live.online(collection)

    assert of_device.devices.bytes_upstream == 7
    assert (of_gateway.gateways.bytes_upstream, of_gateway.online) == (3, {gateway.id})
    assert online == {gateway.id}
    assert walked == []


async def test_counters_of_a_newer_release_are_ignored(nodes: Nodes) -> None:
    """Nodes of two releases run side by side during an upgrade."""
    collection, device, _ = await known(nodes)
    two = nodes[1]

    async def newer(_question: bytes) -> bytes:
        traffic = {"messages_upstream": 2, "lost_upstream": 1}
        return orjson.dumps({"devices": traffic, "gateways": traffic, "online": [], "asleep": [1]})

    two.bus.serve(f"node.{two.registry.store.node}", newer)

    assert (await asking(nodes).values(collection, of=device.id)).devices == Traffic(messages_upstream=2)


async def test_a_question_about_an_unknown_collection_has_an_empty_answer(nodes: Nodes) -> None:
    """The other node may not have seen it yet, or no longer have it."""
    nodes[1].others.serve()
    collection = await nodes[0].collection()
    nodes[1].directory.collections.pop(collection.id, None)

    assert await asking(nodes).values(collection) == Values()
