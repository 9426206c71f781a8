"""Firmware reports: the effect in each state, and the choice of the image."""

from __future__ import annotations

import pytest

from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState, MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.firmware.images import ImageChange
from span_events.fleet.firmware.rules import REPORTED, Finding
from span_events.ids import render
from span_events.registry.model import Management
from span_events.wire.fota import Report
from tests.bench.fleets import CAUSE
from tests.fleet.firmware.scene import (
    CHANGE,
    CHECK,
    CURRENT,
    NEW,
    OLD,
    REQUESTED,
    REQUIRED,
    Scene,
)


@pytest.mark.parametrize(
    ("state", "whole", "following", "names"),
    [
        (FirmwareState.INITIALIZING, False, FirmwareState.PENDING, [CHECK, REQUIRED, CHANGE]),
        (FirmwareState.PENDING, False, FirmwareState.PENDING, [CHECK, REQUIRED]),
        (FirmwareState.DOWNLOADING, False, FirmwareState.PENDING, [CHECK, REQUIRED, CHANGE]),
        (FirmwareState.UPDATING, False, FirmwareState.UPDATE_FAILED, [CHECK, CHANGE]),
        (FirmwareState.CURRENT, False, FirmwareState.REVERTED, [CHECK, CHANGE]),
        (FirmwareState.UPDATE_FAILED, False, FirmwareState.UPDATE_FAILED, [CHECK, CHANGE]),
        (FirmwareState.TIMED_OUT, False, FirmwareState.PENDING, [CHECK, REQUIRED, CHANGE]),
        (FirmwareState.TIMED_OUT, True, FirmwareState.UPDATE_FAILED, [CHECK, CHANGE]),
        (FirmwareState.REVERTED, False, FirmwareState.REVERTED, [CHECK, CHANGE]),
    ],
)
async def test_a_report_of_the_old_version(
    scene: Scene, state: FirmwareState, whole: bool, following: FirmwareState, names: list[str]
) -> None:
    """The response offers the update exactly when firmwareUpdateRequired is published."""
    await scene.reach(state, whole=whole)
    offered = scene.report(OLD)

    assert scene.state is following
    assert offered is (REQUIRED in names)
    assert scene.take() == names


@pytest.mark.parametrize("state", FirmwareState)
async def test_a_report_of_the_target(scene: Scene, state: FirmwareState) -> None:
    """The state becomes Current from every earlier state."""
    await scene.reach(state)
    offered = scene.report(NEW)

    assert not offered
    assert scene.state is FirmwareState.CURRENT
    assert scene.take() == ([CHECK, CURRENT] if state is FirmwareState.CURRENT else [CHECK, CURRENT, CHANGE])


@pytest.mark.parametrize("state", FirmwareState)
async def test_a_report_without_a_target(scene: Scene, state: FirmwareState) -> None:
    """The event gives the reason for no update; a changed state is published unless the API did so already."""
    await scene.reach(state)
    scene.collection.firmware.target_firmware_id = 0  # as if the API's change had not come to this device yet
    offered = scene.report(OLD)
    told = dict(scene.bench.published)

    assert not offered
    assert scene.state is FirmwareState.CURRENT
    assert told[CURRENT] == {"version": OLD, "message": "no target image is set"}
    assert scene.take() == ([CHECK, CURRENT] if state is FirmwareState.CURRENT else [CHECK, CURRENT, CHANGE])


def test_the_table_of_reports_has_every_row() -> None:
    """Each state, for each finding."""
    assert set(REPORTED) == set(Finding)
    assert all(set(rows) == set(FirmwareState) for rows in REPORTED.values())


async def test_a_report_is_stored_and_published(scene: Scene) -> None:
    """All events of a report share one correlation id."""
    report = Report(OLD, "model 01", "0001", "Lab5e Demo Corp")
    scene.bench.firmware.report(scene.device, report, remote=("10.0.0.10", 1), transport=Transport.COAPS)
    events = scene.bench.events
    told = scene.bench.drain()
    await scene.bench.reception.flush()
    (stored,) = (await scene.bench.store.load()).devices

    assert [name for name, _ in told] == ["clientConnected", CHECK, REQUIRED]
    assert told[1][1] == {
        "version": OLD,
        "modelNumber": "model 01",
        "serialNumber": "0001",
        "manufacturer": "Lab5e Demo Corp",
    }
    assert told[2][1] == {
        "currentVersion": OLD,
        "targetVersion": NEW,
        "targetImageId": render(scene.image.id),
    }
    assert len({each.correlation_id for each in events}) == 1
    assert events[0].correlation_id
    assert stored.firmware == scene.device.firmware
    assert (stored.firmware.firmware_version, stored.firmware.serial_number) == (OLD, "0001")
    assert stored.firmware.reported_ms == scene.bench.clock.time_ns() // 1_000_000


async def test_the_current_image_is_found_by_its_version(scene: Scene) -> None:
    """Without such an image, the id is 0."""
    scene.report("0.9")
    unknown = scene.device.firmware.current_firmware_id
    scene.report(NEW)

    assert unknown == 0
    assert scene.device.firmware.current_firmware_id == scene.image.id
    assert (CURRENT, {"version": NEW, "imageId": render(scene.image.id)}) in scene.bench.published


async def test_an_update_that_works_from_target_to_report(scene: Scene) -> None:
    """All events from the assignment to the last report."""
    scene.report()
    scene.download()
    scene.report(NEW)
    told = scene.bench.drain()
    changes = [data for name, data in told if name == CHANGE]
    names = [name for name, _ in told]

    assert names == [CHECK, REQUIRED, REQUESTED, *([CHANGE] * 11), CHECK, CURRENT, CHANGE]
    assert [(each["from"], each["state"]) for each in (changes[0], *changes[-2:])] == [
        ("Pending", "Downloading"),
        ("Downloading", "Updating"),
        ("Updating", "Current"),
    ]
    assert [int(each["percent"]) for each in changes[:-1]] == [5, *range(10, 101, 10)]
    assert [int(each["block"]) for each in changes[:-1]] == [0, *range(1, 20, 2)]
    assert changes[-1] == {
        "from": "Updating",
        "state": "Current",
        "message": "runs 1.1, as it should",
        "version": NEW,
        "targetVersion": NEW,
    }


async def test_a_version_without_an_image_is_published(scene: Scene) -> None:
    """F31 by the usual mistake: the version text of the image differs from the reported one."""
    await scene.reach(FirmwareState.UPDATING)
    scene.report("v1.1")
    (failed,) = scene.changes()
    await scene.bench.images.update(scene.image, ImageChange(version="v1.1"), cause=CAUSE)
    (mended,) = scene.changes()

    assert failed == {
        "from": "Updating",
        "state": "UpdateFailed",
        "message": "downloaded 1.1 to the end, and reports v1.1 (before: 1.0)",
        "version": "v1.1",
        "targetVersion": NEW,
    }
    assert (mended["from"], mended["state"], mended["targetVersion"]) == ("UpdateFailed", "Current", "v1.1")


async def test_a_withheld_update_is_published_with_a_remedy(scene: Scene) -> None:
    """Otherwise the device would download an unsuitable image again and again."""
    await scene.reach(FirmwareState.UPDATE_FAILED)
    scene.report()
    (change,) = scene.changes()

    assert change["message"] == (
        "1.1 is held back until the error is cleared (DELETE …/fwerror) or another target is set"
    )


async def test_no_update_is_offered_without_a_download_address(scene: Scene) -> None:
    """The event names the missing setting."""
    offered = scene.report(unreachable="the host is too long")
    (name, data) = scene.bench.published[-1]

    assert not offered
    assert (name, data["state"], data["message"]) == (CHANGE, "Pending", "the host is too long")


@pytest.mark.parametrize(
    ("management", "of_collection", "of_device", "wanted"),
    [
        (Management.DISABLED, True, True, None),
        (Management.UNSPECIFIED, True, True, None),
        (Management.COLLECTION, True, True, "c"),
        (Management.COLLECTION, False, True, None),
        (Management.DEVICE, True, True, "d"),
        (Management.DEVICE, True, False, "c"),
        (Management.DEVICE, False, False, None),
    ],
)
async def test_the_image_is_chosen_by_management_and_fallback(
    scene: Scene, management: Management, of_collection: bool, of_device: bool, wanted: str | None
) -> None:
    """Span's rule; report and download choose the same image."""
    bench, device = scene.bench, scene.device
    images = {name: await bench.image(scene.collection, name) for name in "cd"}
    change = CollectionChange(management=management, target_firmware_id=images["c"].id if of_collection else 0)
    await bench.collections.update(scene.collection, change, cause=CAUSE)
    await bench.devices.update(device, DeviceChange(target_firmware_id=images["d"].id if of_device else 0), cause=CAUSE)
    offered = scene.report()

    assert offered is (wanted is not None)
    if wanted is None:
        assert scene.refused(0).reason is MessageRejectedReason.NO_FIRMWARE
    else:
        assert scene.fetch(0).octets == wanted.encode()


async def test_a_removed_target_is_published(scene: Scene) -> None:
    """The API refuses this, but a restored registry may lack the image."""
    scene.collection.firmware.target_firmware_id = 24

    assert str(scene.refused(0)) == "the target image 10 is gone"


async def test_a_device_without_firmware_gets_the_reason(scene: Scene) -> None:
    """F32: disabled, no target, management off; the same words for the device and in the event."""
    details = []
    for change in (None, CollectionChange(target_firmware_id=0), CollectionChange(management=Management.DISABLED)):
        if change is None:
            await scene.bench.images.update(scene.image, ImageChange(enabled=False), cause=CAUSE)
        else:
            await scene.bench.collections.update(scene.collection, change, cause=CAUSE)
        scene.bench.activities.clear()
        refusal = scene.refused(0)
        ((name, data),) = scene.bench.drain()
        details.append(str(refusal))

        assert name == "messageRejected"
        assert (data["reason"], data["detail"]) == ("noFirmware", str(refusal))
    assert details == [
        f"the target image {render(scene.image.id)} (version 1.1) is disabled",
        "no target image is set",
        "the collection's firmware management is off",
    ]
