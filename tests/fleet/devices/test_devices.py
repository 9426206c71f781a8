"""Changes of devices by the API, and their events."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from span_events import ids
from span_events.errors import Conflict, NotFound
from span_events.events.message import Transport
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Device
from tests.bench.fleets import CAUSE, FleetBench


def receive(bench: FleetBench, device: Device) -> None:
    """Send a message of a device."""
    bench.reception.received(device, b"hello", remote=("10.0.0.9", 4000), transport=Transport.UDP, local_port=1234)


async def test_creation_update_and_removal_are_published(bench: FleetBench) -> None:
    """With the API call as the cause."""
    collection = await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(tags={"name": "a"}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(tags={"room": "1"}, imsi="24201"), cause=CAUSE)
    await bench.devices.remove(device, cause=CAUSE)

    assert bench.names == ["deviceCreated", "deviceUpdated", "deviceRemoved"]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert (device.tags, device.config.imsi) == ({"name": "a", "room": "1"}, "24201")
    assert bench.directory.devices == {}


async def test_removing_a_device_ends_its_sessions_first(bench: FleetBench) -> None:
    """The events have the order of their causes."""
    device = await bench.device("10.0.0.9")
    await bench.outbox.queue(device, b"x", cause=CAUSE)
    receive(bench, device)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.published] == [
        ("clientDisconnected", "deviceRemoved"),
        ("downstreamFailed", "deviceRemoved"),
        ("deviceRemoved", None),
    ]
    assert bench.directory.device_at("10.0.0.9") is None


async def test_disabling_a_device_ends_its_sessions(bench: FleetBench) -> None:
    """A disabled device may not send, so it is not connected."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)

    assert [(name, data.get("reason")) for name, data in bench.published] == [
        ("clientDisconnected", "deviceDisabled"),
        ("deviceUpdated", None),
    ]


async def test_a_move_is_published_in_both_collections(bench: FleetBench) -> None:
    """Each collection gets deviceMoved; later events go to the new collection."""
    device = await bench.device("10.0.0.9")
    old, new = device.collection, await bench.collection()
    await bench.devices.update(device, DeviceChange(collection_id=new.id, tags={}), cause=CAUSE)
    receive(bench, device)
    moved = {"from": ids.render(old.id), "to": ids.render(new.id)}

    assert bench.published[:2] == [("deviceMoved", moved), ("deviceMoved", moved)]
    assert [each.origin.collection_id for each in bench.events] == [old.id, new.id, new.id, new.id]
    assert bench.directory.device(new.id, device.id) is device
    with pytest.raises(NotFound):
        bench.directory.device(old.id, device.id)


async def test_a_device_with_a_gateway_block_cannot_move(bench: FleetBench) -> None:
    """Span's rule; the message names the remedy."""
    device = await bench.device()
    target = await bench.collection()
    gateway = await bench.gateway(device.collection)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {"k": "v"}}), cause=CAUSE)
    with pytest.raises(Conflict, match="gateway block cannot move"):
        await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(gateways={gateway.id: {}}), cause=CAUSE)
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)

    assert device.collection is target


@pytest.mark.parametrize("change", [{"allocated_ip": "10.0.0.9"}, {"imsi": "24201"}, {"imei": "3520"}], ids=str)
async def test_an_identity_belongs_to_one_device(bench: FleetBench, change: dict[str, str]) -> None:
    """The refused call changes nothing; one's own identity is no conflict."""
    first = await bench.device()
    second = await bench.device()
    await bench.devices.update(first, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]  # a table of cases
    await bench.devices.update(first, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="belongs to another device"):
        await bench.devices.update(second, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]

    assert (second.ciot.allocated_ip, second.config.imsi, second.config.imei) == ("", "", "")


async def test_one_of_two_calls_for_the_same_address_wins(bench: FleetBench) -> None:
    """Calls at the same time are made one after the other."""
    collection = await bench.collection()
    results = await asyncio.gather(
        *(bench.devices.create(collection, DeviceChange(allocated_ip="10.0.0.7"), cause=CAUSE) for _ in range(2)),
        return_exceptions=True,
    )

    assert sorted(type(each).__name__ for each in results) == ["Conflict", "Device"]


async def test_a_changed_address_is_found_and_the_old_one_is_not(bench: FleetBench) -> None:
    """The directory follows."""
    device = await bench.device("10.0.0.9")
    await bench.devices.update(device, DeviceChange(allocated_ip="10.0.0.10"), cause=CAUSE)

    assert bench.directory.device_at("10.0.0.9") is None
    assert bench.directory.device_at("10.0.0.10") is device


@pytest.mark.parametrize("what", ["update", "remove", "queue"])
async def test_a_call_does_not_follow_a_device_that_moves_while_it_waits(bench: FleetBench, what: str) -> None:
    """The caller had access to the old collection only."""
    device = await bench.device()
    target = await bench.collection()
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "update": lambda: bench.devices.update(device, DeviceChange(tags={"a": "b"}), cause=CAUSE),
        "remove": lambda: bench.devices.remove(device, cause=CAUSE),
        "queue": lambda: bench.outbox.queue(device, b"hello", cause=CAUSE),
    }
    lock = bench.outbox._lock if what == "queue" else bench.registry.lock
    async with lock:
        call = asyncio.ensure_future(calls[what]())
        await asyncio.sleep(0)
        device.move_to(target)
        bench.directory._members[target.id][device.id] = device
        del bench.directory._members[next(iter(bench.directory.collections))][device.id]

    with pytest.raises(NotFound):
        await call
    assert device.id in bench.directory.devices
    assert (device.tags, bench.outbox.waiting, bench.names) == ({}, 0, [])


async def test_other_parts_are_called_after_the_event_of_a_change(bench: FleetBench) -> None:
    """The registry and the directory hold the change by then; events of other parts follow their cause."""
    device = await bench.device("10.0.0.9")
    heard: list[tuple[Device, DeviceChange, int, list[str], Device | None]] = []

    def note(device: Device, change: DeviceChange, cause: int) -> None:
        heard.append((device, change, cause, bench.names, bench.directory.device_at("10.0.0.10")))

    bench.devices.on_updated.append(note)
    change = DeviceChange(allocated_ip="10.0.0.10")
    await bench.devices.update(device, change, cause=CAUSE)

    assert heard == [(device, change, CAUSE, ["deviceUpdated"], device)]


async def test_other_parts_are_called_for_a_new_device(bench: FleetBench) -> None:
    """The directory finds the device by then."""
    heard: list[tuple[Device | None, int, list[str]]] = []
    bench.devices.on_created.append(
        lambda device, cause: heard.append((bench.directory.devices.get(device.id), cause, bench.names))
    )
    device = await bench.devices.create(await bench.collection(), DeviceChange(), cause=CAUSE)

    assert heard == [(device, CAUSE, ["deviceCreated"])]


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (("", ""), {"allocated_ip": "10.0.0.1"}, ("10.0.0.1", "10.0.0.1")),
        (("10.0.0.1", "10.0.0.1"), {"allocated_ip": "10.0.0.2"}, ("10.0.0.2", "10.0.0.2")),
        (("10.0.0.1", "10.0.0.1"), {"allocated_ip": ""}, ("", "")),
        (("10.0.0.1", ""), {"allocated_ip": "10.0.0.1"}, ("10.0.0.1", "")),
        (("", "10.0.0.1"), {"allocated_ip": ""}, ("", "10.0.0.1")),
        (("", ""), {"static_ip": "10.0.0.1"}, ("10.0.0.1", "10.0.0.1")),
        (("10.0.0.1", "10.0.0.1"), {"static_ip": ""}, ("", "")),
        (("10.0.0.2", "10.0.0.1"), {"static_ip": "10.0.0.3"}, ("10.0.0.2", "10.0.0.3")),
        (("10.0.0.2", ""), {"static_ip": "10.0.0.2", "allocated_ip": "10.0.0.2"}, ("10.0.0.2", "10.0.0.2")),
        (("", "10.0.0.1"), {"static_ip": "10.0.0.1", "allocated_ip": ""}, ("", "10.0.0.1")),
    ],
    ids=str,
)
async def test_an_address_by_hand_is_the_devices_own(
    bench: FleetBench, before: tuple[str, str], change: dict[str, str], after: tuple[str, str]
) -> None:
    """The present address and the reserved one; a value that was read and is sent back is no change."""
    device = await bench.device()
    device.ciot.allocated_ip, device.ciot.static_ip = before
    await bench.devices.update(device, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]  # a table of cases

    assert (device.ciot.allocated_ip, device.ciot.static_ip) == after


async def test_sessions_that_end_with_a_move_are_published_before_it(bench: FleetBench) -> None:
    """Other parts are called afterwards, as for every change."""
    device, target = await bench.device("10.0.0.9"), await bench.collection()
    receive(bench, device)
    bench.activities.clear()
    changed: list[list[str]] = []
    bench.devices.on_updated.append(lambda *_: changed.append(bench.names))
    target.enabled = False
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)

    assert changed == [["clientDisconnected", "deviceMoved", "deviceMoved"]]


async def test_other_parts_are_called_before_the_event_of_a_removal(bench: FleetBench) -> None:
    """No event of a removed device follows deviceRemoved."""
    device = await bench.device("10.0.0.9")
    receive(bench, device)
    bench.activities.clear()
    heard: list[tuple[Device, int, list[str], bool]] = []
    bench.devices.on_removed.append(
        lambda device, cause: heard.append((device, cause, bench.names, device.id in bench.directory.devices))
    )
    await bench.devices.remove(device, cause=CAUSE)

    assert heard == [(device, CAUSE, ["clientDisconnected"], False)]
