"""Firmware targets: the image that a device should run, and the devices that use an image."""

from __future__ import annotations

import pytest

from span_events.errors import InvalidRequest
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.targets import target_id_of
from span_events.ids import render
from span_events.registry.model import Collection, CollectionFirmware, Device, FirmwareMetadata, Management
from tests.bench.fleets import CAUSE, FleetBench


@pytest.mark.parametrize(
    ("management", "own", "of_collection", "target"),
    [
        (Management.DISABLED, 5, 6, 0),
        (Management.UNSPECIFIED, 5, 6, 0),
        (Management.COLLECTION, 5, 6, 6),
        (Management.COLLECTION, 5, 0, 0),
        (Management.DEVICE, 5, 6, 5),
        (Management.DEVICE, 0, 6, 6),
        (Management.DEVICE, 0, 0, 0),
    ],
)
def test_management_selects_the_target_of_device_or_collection(
    management: Management, own: int, of_collection: int, target: int
) -> None:
    """With management by device, the collection's is for devices that have none."""
    collection = Collection(1, firmware=CollectionFirmware(0, of_collection, management))

    assert target_id_of(Device(2, collection, firmware=FirmwareMetadata(target_firmware_id=own))) == target


async def test_usage_lists_devices_by_target_and_by_current_image(bench: FleetBench) -> None:
    """A device's own target counts under every management, as it prevents the removal of the image."""
    collection = await bench.collection()
    old, new = await bench.image(collection, "1"), await bench.image(collection, "2")
    first, second, third = [await bench.device(collection=collection) for _ in range(3)]
    await bench.devices.update(first, DeviceChange(target_firmware_id=new.id), cause=CAUSE)
    await bench.devices.update(second, DeviceChange(target_firmware_id=old.id), cause=CAUSE)
    second.firmware.current_firmware_id = new.id
    third.firmware.current_firmware_id = old.id
    await bench.collections.update(collection, CollectionChange(target_firmware_id=new.id), cause=CAUSE)
    found = {}
    for management in (Management.DISABLED, Management.DEVICE, Management.COLLECTION):
        await bench.collections.update(collection, CollectionChange(management=management), cause=CAUSE)
        found[management] = [bench.images.usage(each) for each in (old, new)]

    assert [[each.targeted for each in pair] for pair in found.values()] == [
        [(second,), (first,)],
        [(second,), (first, third)],
        [(second,), (first, second, third)],
    ]
    for pair in found.values():
        assert [each.assigned for each in pair] == [(second,), (first,)]
        assert [each.current for each in pair] == [(third,), (second,)]


@pytest.mark.parametrize("whose", ["nobody's", "another collection's"])
async def test_an_image_that_the_collection_does_not_have_is_no_target(bench: FleetBench, whose: str) -> None:
    """As the target of a device or of the collection; nothing changes, and both errors are equal."""
    device = await bench.device()
    collection = device.collection
    foreign = (await bench.image(await bench.collection())).id if whose == "another collection's" else 99
    detail = f"there is no image {render(foreign)} in collection {render(collection.id)}"
    target = DeviceChange(tags={"a": "b"}, target_firmware_id=foreign)
    refused = {}
    for name, attempt in {
        "made": bench.devices.create(collection, target, cause=CAUSE),
        "changed": bench.devices.update(device, target, cause=CAUSE),
        "collection": bench.collections.update(collection, CollectionChange(target_firmware_id=foreign), cause=CAUSE),
        "current": bench.collections.update(collection, CollectionChange(current_firmware_id=foreign), cause=CAUSE),
        "new collection": bench.collections.create(CollectionChange(target_firmware_id=foreign)),
    }.items():
        with pytest.raises(InvalidRequest) as caught:
            await attempt
        refused[name] = (caught.value.field, caught.value.detail)

    fields = {name: field for name, (field, _) in refused.items()}
    assert fields == dict.fromkeys(refused, "firmware.targetFirmwareId") | {"current": "firmware.currentFirmwareId"}
    assert {refused[each][1] for each in ("made", "changed", "collection")} == {f"firmware.targetFirmwareId: {detail}"}
    assert device.tags == {}
    assert list(bench.directory.devices_of(collection.id)) == [device]
