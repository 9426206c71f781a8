"""Firmware states: timeouts and restarts."""

from __future__ import annotations

import pytest

from span_events.events.activity import hint_of
from span_events.events.reasons import FirmwareState
from span_events.fleet.firmware.rules import UNDER_WAY
from tests.bench.fleets import CAUSE, FleetBench
from tests.fleet.firmware.scene import (
    HALF,
    IMAGE,
    NEW,
    OLD,
    SIZE,
    STALL,
    UPDATE,
    Scene,
)


async def test_a_stalled_download_is_published_and_resumes(scene: Scene) -> None:
    """F30: block, percent, seconds; then Downloading again."""
    await scene.reach(FirmwareState.DOWNLOADING)
    scene.wait(STALL - 1)
    patient = scene.take()
    scene.wait(2)
    hint = hint_of(scene.bench.events[-1])
    (stopped,) = scene.changes()
    scene.download(HALF, HALF + 1)
    (resumed,) = scene.changes()

    assert patient == []
    assert hint == FirmwareState.TIMED_OUT.hint
    assert stopped == {
        "from": "Downloading",
        "state": "TimedOut",
        "message": "no other block was asked for in the 121 s after block 9 (50 %)",
        "block": "9",
        "blockSize": "64",
        "percent": "50",
        "seconds": "121",
        "version": OLD,
        "targetVersion": NEW,
    }
    assert (resumed["from"], resumed["state"], resumed["block"], resumed["percent"]) == (
        *("TimedOut", "Downloading"),
        *("10", "55"),
    )
    assert scene.download(HALF + 1) == IMAGE[(HALF + 1) * SIZE :]
    assert scene.state is FirmwareState.UPDATING


async def test_each_block_restarts_the_timeout(scene: Scene) -> None:
    """Slow is not stopped."""
    for number in range(HALF):
        scene.fetch(number)
        scene.wait(STALL - 1)

    assert scene.state is FirmwareState.DOWNLOADING


async def test_a_device_that_repeats_one_block_has_stalled(scene: Scene) -> None:
    """The flash refuses the block or the network loses each reply: there are requests but no progress."""
    await scene.reach(FirmwareState.DOWNLOADING)
    for _ in range(int(STALL) // 10):
        scene.fetch(HALF - 1)
        scene.wait(10)
    (stopped,) = scene.changes()
    scene.fetch(HALF - 1)
    (again,) = scene.changes()

    assert (stopped["state"], stopped["block"], stopped["seconds"]) == ("TimedOut", "9", "120")
    assert (again["state"], again["message"]) == ("Downloading", "goes on with block 9, was at block 9 (50 %)")


async def test_late_blocks_do_not_shorten_the_published_duration(scene: Scene) -> None:
    """The time counts from the end of the download."""
    await scene.reach(FirmwareState.UPDATING)
    scene.wait(UPDATE - 10)
    scene.fetch(HALF)
    scene.wait(10)
    (change,) = scene.changes()

    assert (change["state"], change["seconds"]) == ("TimedOut", "1800")


async def test_a_missing_report_after_a_download_is_published(scene: Scene) -> None:
    """The device may hang in its boot loader."""
    await scene.reach(FirmwareState.UPDATING)
    scene.wait(UPDATE)
    (change,) = scene.changes()

    assert (change["state"], change["percent"], change["seconds"]) == ("TimedOut", "100", "1800")
    assert change["message"] == "no report came for 1800 s after the download"


@pytest.mark.parametrize("state", FirmwareState)
async def test_only_running_updates_time_out(scene: Scene, state: FirmwareState) -> None:
    """A device may sleep for a year."""
    await scene.reach(state)
    scene.wait(31_536_000)

    assert scene.state is (FirmwareState.TIMED_OUT if state in UNDER_WAY else state)


async def test_a_removed_device_does_not_time_out(scene: Scene) -> None:
    """Its events would have no owner."""
    await scene.reach(FirmwareState.DOWNLOADING)
    await scene.bench.devices.remove(scene.device, cause=CAUSE)
    scene.bench.activities.clear()
    scene.wait(STALL)

    assert scene.take() == []


async def reborn(scene: Scene) -> Scene:
    """Start a new fleet over the same registry."""
    bench = scene.bench
    await bench.reception.flush()
    contents = await bench.store.load()
    following = FleetBench(bench.store, bench.authority, bench.clock, bench.folder, firmware={"stall_timeout": STALL})
    following.directory.fill(contents.collections, contents.devices, images=contents.images)
    following.firmware.prepare()
    return Scene(following, following.directory.devices[scene.device.id], scene.image)


async def test_a_restart_keeps_progress_and_the_time_that_is_left(scene: Scene) -> None:
    """A regular shutdown loses no progress."""
    scene.download(end=HALF + 1)
    scene.bench.clock.shift(100)
    scene.bench.firmware.close()
    following = await reborn(scene)
    following.wait(19)
    patient = following.take()
    following.wait(1)
    (stopped,) = following.changes()

    assert patient == []
    assert (stopped["state"], stopped["block"], stopped["percent"], stopped["seconds"]) == (
        *("TimedOut", "10"),
        *("55", "120"),
    )


async def test_a_crash_loses_less_than_a_tenth(scene: Scene) -> None:
    """The registry has the last written progress; the device continues with its own block."""
    scene.download(end=HALF)
    await scene.bench.reception.flush()
    scene.fetch(HALF)
    following = await reborn(scene)
    following.download(HALF + 1, HALF + 2)
    (change,) = following.changes()[-1:]

    assert (change["state"], change["percent"]) == ("Downloading", "60")


async def test_downtime_of_the_server_does_not_count_as_a_timeout(scene: Scene) -> None:
    """After a start, the timeout begins again."""
    await scene.reach(FirmwareState.DOWNLOADING)
    scene.bench.clock.shift(86_400)
    following = await reborn(scene)
    following.wait(STALL - 1)
    patient = following.take()
    following.wait(1)
    (stopped,) = following.changes()

    assert patient == []
    assert (stopped["state"], stopped["seconds"]) == ("TimedOut", str(86_400 + int(STALL)))


@pytest.mark.parametrize("state", FirmwareState)
async def test_every_state_survives_a_restart(scene: Scene, state: FirmwareState) -> None:
    """The message is kept, and the restart publishes nothing."""
    await scene.reach(state)
    following = await reborn(scene)

    assert following.state is state
    assert following.device.firmware == scene.device.firmware
    assert following.take() == []


async def test_a_target_changed_right_before_a_crash_is_published_after_it(scene: Scene) -> None:
    """The registry had the target, but not yet the states that follow."""
    scene.report()
    await scene.bench.reception.flush()
    scene.collection.firmware.target_firmware_id = 0
    await scene.bench.store.put_collection(scene.collection)
    following = await reborn(scene)
    (change,) = following.changes()

    assert (change["from"], change["state"], change["message"]) == ("Pending", "Current", "no target image is set")
