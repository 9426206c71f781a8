"""Edits of attached devices through the API."""

from __future__ import annotations

from typing import Any

import pytest

from span_events.fleet.cellular.report import Accepted
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.fleets import CAUSE, FleetBench
from tests.fleet.cellular.reports import ADDRESS, IMEI, IMSI, OTHER_IMEI, OTHER_IMSI, known, reasons, seen, send


async def test_a_device_created_while_its_sim_is_attached_connects(bench: FleetBench) -> None:
    """After the event of its creation."""
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    device = await bench.devices.create(await bench.collection(), DeviceChange(imsi=IMSI), cause=CAUSE)

    assert bench.names == ["deviceCreated", "ciotConnect"]
    assert {each.correlation_id for each in bench.events} == {CAUSE}
    assert send(bench) is device


@pytest.mark.parametrize("change", [{"imsi": IMSI}, {"imei": IMEI}], ids=str)
async def test_a_device_edited_to_the_attached_imsi_connects(bench: FleetBench, change: dict[str, str]) -> None:
    """It need not attach again."""
    device = await known(bench, imsi="", imei="")
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(**change), cause=CAUSE)  # type: ignore[arg-type]  # a table of cases

    assert bench.names == ["deviceUpdated", "ciotConnect"]
    assert send(bench) is device


async def test_a_mismatch_ends_with_the_removal_of_its_device(bench: FleetBench) -> None:
    """The next Interim-Update finds the owner of the hardware."""
    contradicted = await known(bench, imei=OTHER_IMEI)
    device = await known(bench, imsi="")
    bench.cellular.accounting.start(seen())
    await bench.devices.remove(contradicted, cause=CAUSE)
    bench.cellular.accounting.interim(seen())

    assert bench.names == ["imeiMismatch", "deviceRemoved", "ciotConnect"]
    assert send(bench) is device


async def test_a_device_edited_to_another_imsi_disconnects(bench: FleetBench) -> None:
    """The attachment stays open without a device; after a correction it is the device's again."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    send(bench)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(imsi=OTHER_IMSI), cause=CAUSE)
    wrong = reasons(bench)
    nobody = send(bench)
    bench.activities.clear()
    await bench.devices.update(device, DeviceChange(imsi=IMSI), cause=CAUSE)

    assert wrong == [
        ("deviceUpdated", ""),
        ("ciotDisconnect", "identityChanged"),
        ("clientDisconnected", "detached"),
        ("imsiMismatch", ""),
    ]
    assert nobody is None
    assert reasons(bench) == [("deviceUpdated", ""), ("ciotConnect", "")]


async def test_an_imsi_configured_later_decides_between_two_devices(bench: FleetBench) -> None:
    """One matched by hardware; then the SIM is configured for the other."""
    by_hardware = await known(bench, imsi="")
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    by_sim = await bench.devices.create(await bench.collection(), DeviceChange(imsi=IMSI), cause=CAUSE)

    assert [(each.name, each.origin) for each in bench.events][1:] == [
        ("ciotDisconnect", by_hardware.origin),
        ("ciotConnect", by_sim.origin),
    ]


async def test_other_edits_publish_nothing(bench: FleetBench) -> None:
    """Nor does the same number in another form."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    bench.activities.clear()
    for change in (DeviceChange(tags={"a": "b"}), DeviceChange(imsi=IMSI), DeviceChange(imei="3569380356438001")):
        await bench.devices.update(device, change, cause=CAUSE)

    assert bench.names == ["deviceUpdated"] * 3


async def test_a_removed_device_disconnects_first(bench: FleetBench) -> None:
    """Its address stays in use, so the pool does not assign it."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    send(bench)
    bench.activities.clear()
    await bench.devices.remove(device, cause=CAUSE)
    told = reasons(bench)
    bench.cellular.accounting.interim(seen())
    await bench.cellular.commit()
    (kept,) = (await bench.store.load()).attachments

    assert told == [("clientDisconnected", "deviceRemoved"), ("ciotDisconnect", "deviceRemoved"), ("deviceRemoved", "")]
    assert bench.drain() == []
    assert send(bench) is None
    assert (kept.device, kept.address) == (None, ADDRESS)


async def test_a_static_address_set_while_attached_is_used_next_time(bench: FleetBench) -> None:
    """The network does not know of it; until then the device keeps its address."""
    device = await known(bench)
    bench.cellular.accounting.start(seen())
    await bench.devices.update(device, DeviceChange(allocated_ip="10.64.0.50"), cause=CAUSE)
    bench.activities.clear()
    accepted = bench.cellular.access(seen(address=""), accounting=True)

    assert (device.ciot.allocated_ip, device.ciot.static_ip) == (ADDRESS, "10.64.0.50")
    assert send(bench) is device
    assert send(bench, "10.64.0.50") is None
    assert isinstance(accepted, Accepted)
    assert accepted.address == "10.64.0.50"


async def test_a_report_during_the_write_of_an_edit_wins(bench: FleetBench) -> None:
    """Two devices get one address at the same moment, one of them by an edit."""
    by_hand = await bench.device()
    device = await known(bench)
    put = bench.store.put_devices

    async def meanwhile(devices: Any) -> None:
        await put(devices)
        bench.cellular.accounting.start(seen())

    bench.store.put_devices = meanwhile  # type: ignore[method-assign]  # the moment cannot be met otherwise
    await bench.devices.update(by_hand, DeviceChange(allocated_ip=ADDRESS), cause=CAUSE)

    assert send(bench) is device
    assert by_hand.ciot.allocated_ip == ""


async def test_a_static_address_is_not_taken_from_its_attachment(bench: FleetBench) -> None:
    """An unknown subscriber has it; the new device keeps it for later."""
    bench.cellular.accounting.start(seen())
    device = await bench.device(ADDRESS)

    assert send(bench) is None
    assert (device.ciot.allocated_ip, device.ciot.static_ip) == ("", ADDRESS)


async def test_a_device_moved_to_another_collection_stays_attached(bench: FleetBench) -> None:
    """The new collection gets its ciotDisconnect."""
    device = await known(bench)
    target = await bench.collection()
    bench.cellular.accounting.start(seen())
    await bench.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    bench.activities.clear()
    bench.cellular.accounting.stop(seen())

    assert [each.origin.collection_id for each in bench.events] == [target.id]
