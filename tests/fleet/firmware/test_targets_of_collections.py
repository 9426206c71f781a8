"""Changes through the API during updates: targets, images, errors."""

from __future__ import annotations

import asyncio

import pytest

from span_events.errors import NotFound, StorageUnavailable
from span_events.events.reasons import FirmwareState, MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.firmware.images import ImageChange
from span_events.fleet.firmware.rules import ERRORS
from span_events.ids import render
from span_events.registry.model import Management
from tests.bench.clock import settle
from tests.bench.fleets import CAUSE
from tests.fleet.firmware.scene import (
    BLOCKS,
    CHANGE,
    HALF,
    IMAGE,
    OLD,
    STALL,
    Scene,
)


@pytest.mark.parametrize("state", FirmwareState)
async def test_another_target_starts_a_new_update(scene: Scene, state: FirmwareState) -> None:
    """This also ends an error state; the event names the API call as its cause."""
    other = await scene.bench.image(scene.collection, "1.2")
    await scene.reach(state)
    await scene.target(other)
    (event,) = scene.bench.events
    (change,) = scene.changes()

    assert scene.state is FirmwareState.PENDING
    assert (change["state"], change["targetVersion"]) == ("Pending", "1.2")
    assert event.correlation_id == CAUSE


@pytest.mark.parametrize("state", FirmwareState)
async def test_a_change_without_effect_on_the_target_publishes_nothing(scene: Scene, state: FirmwareState) -> None:
    """Tags of the device, of its collection, of the image."""
    await scene.reach(state)
    tags = {"name": "x"}
    await scene.bench.devices.update(scene.device, DeviceChange(tags=tags), cause=CAUSE)
    await scene.bench.collections.update(scene.collection, CollectionChange(tags=tags), cause=CAUSE)
    await scene.bench.images.update(scene.image, ImageChange(tags=tags), cause=CAUSE)

    assert scene.state is state
    assert scene.take() == ["deviceUpdated"]


@pytest.mark.parametrize("state", FirmwareState)
async def test_a_removed_target_ends_the_update(scene: Scene, state: FirmwareState) -> None:
    """Disabling the image removes it as a target; the message says so."""
    await scene.reach(state)
    await scene.bench.images.update(scene.image, ImageChange(enabled=False), cause=CAUSE)
    changes = scene.changes()

    assert scene.state is FirmwareState.CURRENT
    if state is FirmwareState.CURRENT:
        assert changes == []
    else:
        assert changes[0]["message"].startswith(f"the target image {render(scene.image.id)} (version 1.1) is disabled")


async def test_a_target_that_the_device_runs_already_is_current(scene: Scene) -> None:
    """Nothing waits."""
    scene.report()
    old = await scene.bench.image(scene.collection, OLD)
    scene.bench.activities.clear()
    await scene.target(old)
    (change,) = scene.changes()

    assert (change["from"], change["state"], change["targetVersion"]) == ("Pending", "Current", OLD)


async def test_a_version_text_that_changes_under_a_current_device_is_no_reversion(scene: Scene) -> None:
    """The device has done nothing."""
    await scene.reach(FirmwareState.CURRENT)
    await scene.bench.images.update(scene.image, ImageChange(version="1.1.0"), cause=CAUSE)

    assert scene.state is FirmwareState.PENDING


async def test_a_devices_own_target_is_published_after_the_change(scene: Scene) -> None:
    """deviceUpdated, then firmwareStateChange: both of the same API call."""
    other = await scene.bench.image(scene.collection, "1.2")
    await scene.bench.collections.update(scene.collection, CollectionChange(management=Management.DEVICE), cause=CAUSE)
    scene.bench.activities.clear()
    await scene.bench.devices.update(scene.device, DeviceChange(target_firmware_id=other.id), cause=CAUSE)
    events = scene.bench.events

    assert scene.take() == ["deviceUpdated", CHANGE]
    assert {each.correlation_id for each in events} == {CAUSE}


async def test_a_moved_device_ends_its_update(scene: Scene) -> None:
    """The other collection has its own images."""
    await scene.reach(FirmwareState.DOWNLOADING)
    there = await scene.bench.collection()
    await scene.bench.devices.update(scene.device, DeviceChange(collection_id=there.id), cause=CAUSE)

    assert scene.state is FirmwareState.CURRENT
    assert scene.refused(HALF).reason is MessageRejectedReason.NO_FIRMWARE


async def test_a_failed_check_of_a_device_does_not_stop_later_checks(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect with one device must not block later changes of the collection."""
    other = await scene.bench.image(scene.collection, "1.2")
    with monkeypatch.context() as patched:
        patched.setattr(scene.bench.reception, "changed", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await scene.target(other)
    await scene.bench.images.update(other, ImageChange(version="1.3"), cause=CAUSE)

    assert [each["targetVersion"] for each in scene.changes()] == ["1.3"]


async def test_a_large_collection_is_checked_in_slices(scene: Scene) -> None:
    """Other tasks run between the slices, all devices are checked, and a newer target wins."""
    bench, collection = scene.bench, scene.collection
    for _ in range(600):
        await bench.devices.create(collection, DeviceChange(), cause=CAUSE)
    images = [await bench.image(collection, version) for version in ("2.0", "3.0")]
    bench.activities.clear()
    await scene.target(images[0])
    at_once = len(bench.activities)
    await asyncio.sleep(0)
    bench.activities.clear()
    await scene.target(images[1])
    await settle()
    devices = bench.directory.devices.values()

    assert at_once == 250
    assert {each.firmware.state for each in devices} == {"Pending"}
    assert {each.firmware.state_image_id for each in devices} == {images[1].id}


@pytest.mark.parametrize("state", sorted(ERRORS))
async def test_an_error_that_is_cleared_lets_the_device_try_again(scene: Scene, state: FirmwareState) -> None:
    """The state becomes Initializing, is stored and then published; the next report offers the update."""
    await scene.reach(state)
    await scene.clear()
    (event,) = scene.bench.events
    (change,) = scene.changes()
    (stored,) = (await scene.bench.store.load()).devices

    assert (change["from"], change["state"], change["message"]) == (state, "Initializing", "the error was cleared")
    assert event.correlation_id == CAUSE
    assert stored.firmware.state == "Initializing"
    assert scene.report()
    assert scene.download() == IMAGE


async def test_an_error_of_a_device_that_runs_its_target_is_cleared_to_current(scene: Scene) -> None:
    """There is nothing to try again."""
    await scene.reach(FirmwareState.CURRENT)
    scene.download(end=HALF)
    scene.wait(STALL)
    await scene.clear()

    assert scene.state is FirmwareState.CURRENT


@pytest.mark.parametrize("state", sorted(set(FirmwareState) - ERRORS))
async def test_without_an_error_nothing_is_cleared(scene: Scene, state: FirmwareState) -> None:
    """Harmless."""
    await scene.reach(state)
    await scene.clear()

    assert scene.state is state
    assert scene.take() == []


async def test_an_error_that_cannot_be_written_stays(scene: Scene) -> None:
    """The registry is written first; and a device that is gone has none."""
    await scene.reach(FirmwareState.UPDATE_FAILED)
    await scene.bench.store.close()
    with pytest.raises(StorageUnavailable):
        await scene.clear()

    assert scene.state is FirmwareState.UPDATE_FAILED
    assert scene.take() == []


async def test_a_removed_device_has_no_error(scene: Scene) -> None:
    """404 in the API."""
    await scene.bench.devices.remove(scene.device, cause=CAUSE)
    with pytest.raises(NotFound):
        await scene.clear()


async def test_metrics_count_what_happens(scene: Scene) -> None:
    """Reports, blocks, states."""
    await scene.reach(FirmwareState.UPDATING)
    found = {each.name: each.value() for each in scene.bench.firmware.metrics()}

    assert (found["firmware_reports"], found["firmware_blocks"]) == (1, BLOCKS)
    assert found["firmware_under_way"] == {"Downloading": 0, "Updating": 1}
    assert found["firmware_states"] == {
        state: int(state in ("Pending", "Downloading", "Updating")) for state in FirmwareState
    }
