"""Changes of gateways by the API, and their effects on devices, messages and sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from span_events.errors import Conflict, InvalidRequest, NotFound
from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.registry.directory import BUILT_IN
from span_events.registry.model import Device, DownstreamState, Gateway, GatewayType, Psk
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.links import FakeGateway


async def behind(bench: FleetBench, *gateways: Gateway, address: str = "") -> Device:
    """Create a device with a block for each of some gateways."""
    blocks = {each.id: {"devEui": "00"} for each in gateways}
    change = DeviceChange(gateways=blocks, allocated_ip=address)
    device = await bench.devices.create(gateways[0].collection, change, cause=CAUSE)
    bench.activities.clear()
    return device


async def test_a_gateway_is_created_changed_and_removed(bench: FleetBench) -> None:
    """The change is in the registry and in memory; Span has no events for it."""
    gateway = await bench.gateway(name="roof", params={"a": "1"}, tags={"x": "1"})
    change = GatewayChange(name="cellar", type=GatewayType.LORA, params={"b": "2"}, tags={"y": "2"}, enabled=False)
    await bench.gateways.update(gateway, change, cause=CAUSE)
    (stored,) = (await bench.store.load()).gateways
    await bench.gateways.remove(gateway, cause=CAUSE)

    for each in (gateway, stored):
        assert (each.name, each.type, each.params) == ("cellar", GatewayType.LORA, {"b": "2"})
        assert (each.tags, each.enabled) == ({"x": "1", "y": "2"}, False)
    assert (await bench.store.load()).gateways == []
    assert bench.directory.gateways == {}
    assert bench.names == []


async def test_values_missing_from_a_change_stay(bench: FleetBench) -> None:
    """An empty name and empty maps change nothing: clients send them with every update."""
    gateway = await bench.gateway(name="roof", type=GatewayType.ZIGBEE, params={"a": "1"}, tags={"x": "1"})
    await bench.gateways.update(gateway, GatewayChange(name="", params={}, tags={}), cause=CAUSE)

    assert (gateway.name, gateway.type, gateway.params) == ("roof", GatewayType.ZIGBEE, {"a": "1"})
    assert (gateway.tags, gateway.enabled) == ({"x": "1"}, True)


async def test_built_in_gateways_are_in_every_collection_and_cannot_be_changed(bench: FleetBench) -> None:
    """The ids are the same in every collection, so that clients may store them."""
    for collection in (await bench.collection(), await bench.collection()):
        found = list(bench.directory.gateways_of(collection.id))
        assert {each.type: each.id for each in found} == dict(BUILT_IN)
        for gateway in found:
            with pytest.raises(Conflict, match=f"Gateway {render(gateway.id)} is built in"):
                await bench.gateways.update(gateway, GatewayChange(name="mine"), cause=CAUSE)
            with pytest.raises(Conflict, match="is built in"):
                await bench.gateways.remove(gateway, cause=CAUSE)

    assert (await bench.store.load()).gateways == []


async def test_a_block_needs_a_gateway_of_the_same_collection(bench: FleetBench) -> None:
    """A present block may stay, whatever the state of its gateway."""
    device = await bench.device()
    foreign = await bench.gateway()
    device.config.gateways[99] = {"old": "1"}
    for gateway_id in (foreign.id, 17, BUILT_IN[GatewayType.CIOT]):
        with pytest.raises(InvalidRequest, match=rf"^config\.gateway\.{render(gateway_id)}: "):
            await bench.devices.update(device, DeviceChange(gateways={gateway_id: {"a": "b"}}), cause=CAUSE)
    bench.directory.add(device)
    await bench.devices.update(device, DeviceChange(gateways={99: {"old": "2"}}), cause=CAUSE)

    assert device.config.gateways == {99: {"old": "2"}}


async def test_removing_a_gateway_takes_its_blocks_away(bench: FleetBench) -> None:
    """Each device has an event with the call as the cause; other blocks stay, in the registry too."""
    gateway = await bench.gateway()
    other = await bench.gateway(gateway.collection)
    first, second, stranger = (
        await behind(bench, gateway),
        await behind(bench, gateway, other),
        await behind(bench, other),
    )
    await bench.gateways.remove(gateway, cause=CAUSE)
    stored = {each.id: list(each.config.gateways) for each in (await bench.store.load()).devices}

    assert bench.names == ["deviceUpdated", "deviceUpdated"]
    assert [(each.origin, each.correlation_id) for each in bench.events] == [
        (first.origin, CAUSE),
        (second.origin, CAUSE),
    ]
    assert stored == {first.id: [], second.id: [other.id], stranger.id: [other.id]}
    assert [list(each.config.gateways) for each in (first, second, stranger)] == [[], [other.id], [other.id]]
    assert bench.directory.devices_behind(gateway) == []
    assert bench.directory.devices_behind(other) == [second, stranger]


async def test_removing_a_gateway_ends_its_session_first(bench: FleetBench) -> None:
    """The gateway gets the reason."""
    gateway = await bench.gateway()
    await behind(bench, gateway)
    fake = FakeGateway(bench, gateway)
    bench.activities.clear()
    await bench.gateways.remove(gateway, cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.published] == [
        ("gatewayDisconnected", "gatewayRemoved"),
        ("deviceUpdated", None),
    ]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert fake.link.ends == [GatewayReason.GATEWAY_REMOVED]
    assert not gateway.is_online


@pytest.mark.parametrize(
    ("way", "failed"),
    [("none", True), ("other gateway", False), ("address", False), ("sim", False), ("psk", False), ("cert", False)],
)
async def test_messages_fail_with_the_last_gateway_of_their_device(bench: FleetBench, way: str, failed: bool) -> None:
    """A device with another transport keeps its messages."""
    gateway = await bench.gateway()
    others = [await bench.gateway(gateway.collection)] if way == "other gateway" else []
    device = await behind(bench, gateway, *others, address="10.0.0.9" if way == "address" else "")
    if way == "sim":
        await bench.devices.update(device, DeviceChange(imsi="24201"), cause=CAUSE)
    elif way == "psk":
        await bench.psks.put(device, Psk(b"pump", b"k" * 16), cause=CAUSE)
    elif way == "cert":
        await bench.certificates.create(device)
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)
    bench.activities.clear()
    await bench.gateways.remove(gateway, cause=CAUSE)

    refused = [("downstreamFailed", "refused")] if failed else []
    assert [(name, data.get("reason")) for name, data in bench.published] == [*refused, ("deviceUpdated", None)]
    assert message.state is (DownstreamState.FAILED if failed else DownstreamState.PENDING)


async def test_a_gateway_with_devices_cannot_move(bench: FleetBench) -> None:
    """The error names the devices; without blocks the gateway moves, and its session ends."""
    gateway = await bench.gateway()
    device = await behind(bench, gateway)
    old, new = gateway.collection, await bench.collection()
    with pytest.raises(Conflict, match=f"there are {render(device.id)}$"):
        await bench.gateways.update(gateway, GatewayChange(collection_id=new.id), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}}), cause=CAUSE)
    fake = FakeGateway(bench, gateway)
    bench.activities.clear()
    await bench.gateways.update(gateway, GatewayChange(collection_id=new.id, name="new"), cause=CAUSE)

    assert fake.link.ends == [GatewayReason.GATEWAY_MOVED]
    assert [(each.name, each.origin.collection_id) for each in bench.events] == [("gatewayDisconnected", old.id)]
    assert bench.directory.gateway(new.id, gateway.id) is gateway
    assert (gateway.origin.collection_id, gateway.name) == (new.id, "new")
    assert [each.collection.id for each in (await bench.store.load()).gateways] == [new.id]
    with pytest.raises(NotFound):
        bench.directory.gateway(old.id, gateway.id)


async def test_an_error_names_five_devices_at_most(bench: FleetBench) -> None:
    """Beyond five devices, the error gives their number."""
    gateway = await bench.gateway()
    for _ in range(7):
        await behind(bench, gateway)
    target = await bench.collection()

    with pytest.raises(Conflict, match=r"there are \w+, \w+, \w+, \w+, \w+ and 2 more$"):
        await bench.gateways.update(gateway, GatewayChange(collection_id=target.id), cause=CAUSE)


async def test_a_disabled_gateway_is_disconnected_and_may_not_come_back(bench: FleetBench) -> None:
    gateway = await bench.gateway()
    fake = FakeGateway(bench, gateway)
    await bench.gateways.update(gateway, GatewayChange(enabled=False), cause=CAUSE)

    assert fake.link.ends == [GatewayReason.GATEWAY_DISABLED]
    assert bench.published[-1][1]["reason"] == "gatewayDisabled"


async def test_a_collection_with_a_gateway_stays(bench: FleetBench) -> None:
    """Built-in gateways do not count."""
    gateway = await bench.gateway()
    with pytest.raises(Conflict, match=r"still has 1 gateway$"):
        await bench.collections.remove(gateway.collection)
    await bench.gateways.remove(gateway, cause=CAUSE)
    await bench.collections.remove(gateway.collection)

    assert bench.directory.collections == {}


@pytest.mark.parametrize("what", ["update", "remove"])
async def test_a_call_fails_when_its_gateway_moves_while_the_call_waits(bench: FleetBench, what: str) -> None:
    """The caller had access to the old collection only."""
    gateway = await bench.gateway(tags={"x": "1"})
    target = await bench.collection()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "update": lambda: bench.gateways.update(gateway, GatewayChange(tags={"y": "2"}), cause=CAUSE),
        "remove": lambda: bench.gateways.remove(gateway, cause=CAUSE),
    }
    async with bench.registry.lock:
        call = asyncio.ensure_future(calls[what]())
        await asyncio.sleep(0)
        bench.directory.move_gateway(gateway, target)

    with pytest.raises(NotFound):
        await call
    assert bench.directory.gateways == {gateway.id: gateway}
    assert gateway.tags == {"x": "1"}


async def test_no_device_joins_a_gateway_that_is_being_removed(bench: FleetBench) -> None:
    """The two calls run one after the other."""
    gateway = await bench.gateway()
    device = await bench.device(collection=gateway.collection)
    results = await asyncio.gather(
        bench.gateways.remove(gateway, cause=CAUSE),
        bench.devices.update(device, DeviceChange(gateways={gateway.id: {"a": "b"}}), cause=CAUSE),
        return_exceptions=True,
    )

    assert [type(each) for each in results] == [type(None), InvalidRequest]
    assert device.config.gateways == {}


async def test_a_removed_gateway_gets_no_certificate(bench: FleetBench) -> None:
    """Its present certificates stay known, so that its next connection can be explained."""
    gateway = await bench.gateway()
    signed = await bench.certificates.create(gateway)
    await bench.gateways.remove(gateway, cause=CAUSE)
    with pytest.raises(NotFound):
        await bench.certificates.create(gateway)

    assert bench.directory.certificate_with(signed.record.serial) == signed.record
    assert (signed.record.device_id, signed.record.gateway_id) == (None, gateway.id)
