"""Changes of collections."""

from __future__ import annotations

import asyncio

import pytest

from span_events.errors import Conflict, NotFound, StorageUnavailable
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Management
from tests.bench.fleets import CAUSE, FleetBench


async def test_the_registry_is_written_first(bench: FleetBench) -> None:
    """A change that the store refuses has no effect."""
    collection = await bench.collections.create(CollectionChange(tags={"name": "x"}))
    await bench.store.close()
    with pytest.raises(StorageUnavailable):
        await bench.collections.update(
            collection, CollectionChange(tags={"name": "y"}, management=Management.DEVICE), cause=CAUSE
        )
    with pytest.raises(StorageUnavailable):
        await bench.collections.remove(collection)
    with pytest.raises(StorageUnavailable):
        await bench.collections.create(CollectionChange())

    assert list(bench.directory.collections.values()) == [collection]
    assert collection.tags == {"name": "x"}
    assert collection.firmware.management is Management.DISABLED


async def test_a_change_keeps_values_that_it_does_not_name(bench: FleetBench) -> None:
    """None leaves, tags are merged."""
    collection = await bench.collections.create(CollectionChange(team_id=7, tags={"a": "1"}, enabled=False))
    old, new = await bench.image(collection, "1"), await bench.image(collection, "2")
    images = CollectionChange(current_firmware_id=old.id, target_firmware_id=new.id)
    for change in (images, CollectionChange(tags={"b": "2"})):
        await bench.collections.update(collection, change, cause=CAUSE)
    (stored,) = (await bench.store.load()).collections

    for each in (collection, stored):
        assert (each.team_id, each.tags, each.enabled) == (7, {"a": "1", "b": "2"}, False)
        assert (each.firmware.current_firmware_id, each.firmware.target_firmware_id) == (old.id, new.id)


async def test_a_removed_collection_cannot_be_changed(bench: FleetBench) -> None:
    """Nor removed again."""
    collection = await bench.collection()
    await bench.collections.remove(collection)

    for attempt in (
        bench.collections.update(collection, CollectionChange(), cause=CAUSE),
        bench.collections.remove(collection),
    ):
        with pytest.raises(NotFound):
            await attempt


@pytest.mark.parametrize("device_first", [True, False])
async def test_no_device_joins_a_collection_that_is_being_removed(bench: FleetBench, device_first: bool) -> None:
    """The first call wins; the other is refused."""
    collection = await bench.collection()
    joining = bench.devices.create(collection, DeviceChange(), cause=CAUSE)
    removing = bench.collections.remove(collection)
    order = (joining, removing) if device_first else (removing, joining)
    _, second = await asyncio.gather(*order, return_exceptions=True)
    contents = await bench.store.load()

    assert isinstance(second, Conflict if device_first else NotFound)
    assert len(contents.collections) == len(contents.devices) == int(device_first)


async def test_concurrent_changes_are_all_kept(bench: FleetBench) -> None:
    """Each change starts from the result of the previous one."""
    collection = await bench.collection()
    changes = [CollectionChange(tags={str(number): "x"}) for number in range(20)]
    await asyncio.gather(*(bench.collections.update(collection, each, cause=CAUSE) for each in changes))
    (stored,) = (await bench.store.load()).collections

    assert stored.tags == collection.tags == {str(number): "x" for number in range(20)}
