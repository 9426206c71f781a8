"""Images on their way to devices: any block at any time, and never a mixture."""

from __future__ import annotations

from pathlib import Path

import pytest

from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState, MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.ids import render
from span_events.registry.model import Management
from tests.bench.fleets import CAUSE, fleet_bench
from tests.fleet.firmware.scene import (
    BLOCKS,
    CHANGE,
    HALF,
    IMAGE,
    NEW,
    REMOTE,
    REQUESTED,
    STALL,
    Scene,
)


async def test_blocks_come_in_any_order_size_and_number_of_times(scene: Scene) -> None:
    """Each is what stands there in the image."""
    for size in (16, 32, 64, 128, 256, 512, 1024):
        last = -(-len(IMAGE) // size) - 1
        for number in (last, 0, last // 2, 0, last):
            start = number * size
            chunk = scene.fetch(number, size)

            assert chunk.octets == IMAGE[start : start + size]
            assert chunk.more is (start + size < len(IMAGE))


async def test_a_block_after_the_end_is_refused(scene: Scene) -> None:
    """With the number of the last one."""
    refusal = scene.refused(BLOCKS)

    assert (refusal.reason, str(refusal)) == (
        MessageRejectedReason.MALFORMED,
        "block 20 is asked for, the last one is 19",
    )
    assert scene.state is FirmwareState.PENDING


async def test_repeated_blocks_publish_nothing_and_progress_never_decreases(scene: Scene) -> None:
    """A device that lost a reply asks again."""
    scene.download(end=HALF)
    scene.bench.activities.clear()
    for number in (HALF - 1, HALF - 3, HALF - 1):
        scene.fetch(number)
    repeated = scene.take()
    scene.download(HALF, HALF + 2)

    assert repeated == []
    assert [each["percent"] for each in scene.changes()] == ["60"]


async def test_a_restarted_download_is_published(scene: Scene) -> None:
    """The one case in which percent goes back."""
    scene.download()
    scene.report("1.0.9")
    await scene.clear()
    scene.download(end=18)
    scene.bench.activities.clear()
    scene.fetch(0)
    told = scene.bench.drain()

    assert [name for name, _ in told] == [REQUESTED, CHANGE]
    assert (told[1][1]["from"], told[1][1]["state"]) == ("Downloading", "Downloading")
    assert (told[1][1]["block"], told[1][1]["percent"]) == ("0", "5")
    assert told[1][1]["message"] == "began again with block 0, was at block 17 (90 %)"


async def test_a_smaller_block_0_right_after_the_first_is_no_restart(scene: Scene) -> None:
    """The server chose the size; the device wants another one."""
    scene.fetch(0, 512)
    scene.bench.activities.clear()
    scene.fetch(0, 64)

    assert scene.take() == []


async def test_a_repeated_block_0_is_no_restart(scene: Scene) -> None:
    """Its reply was lost; that it may be the last one as well changes nothing."""
    scene.fetch(0)
    await scene.target(await scene.bench.image(scene.collection, "2.0", b"tiny"))
    scene.fetch(0, 512)
    scene.bench.activities.clear()
    for size in (512, 512, 1024):
        scene.fetch(0, size)

    assert scene.take() == []
    assert scene.state is FirmwareState.UPDATING


async def test_blocks_from_the_last_to_the_first_are_one_download(scene: Scene) -> None:
    """Block 0 after block 1 ends it, and begins no other."""
    octets = b"".join(reversed([scene.fetch(number).octets for number in reversed(range(BLOCKS))]))
    names = scene.take()

    assert octets == IMAGE
    assert names.count(REQUESTED) == 1
    assert scene.state is FirmwareState.UPDATING


async def test_a_restart_after_the_last_block_is_published(scene: Scene) -> None:
    """Without a report between: it crashed before it could install the image."""
    await scene.reach(FirmwareState.UPDATING)
    scene.fetch(0)

    assert scene.take() == [REQUESTED, CHANGE]
    assert scene.state is FirmwareState.DOWNLOADING


async def test_a_download_may_begin_in_the_middle(scene: Scene) -> None:
    """The device may have the rest from before we kept count."""
    scene.fetch(HALF)
    requested, change = scene.bench.drain()

    assert requested == (REQUESTED, {"imageId": render(scene.image.id), "version": NEW, "size": str(len(IMAGE))})
    assert change[1]["message"] == "began with block 10"
    assert change[1]["percent"] == "55"


async def test_the_last_block_again_changes_nothing(scene: Scene) -> None:
    """Its first reply was lost; and copies may come late, when the update is over."""
    await scene.reach(FirmwareState.UPDATING)
    scene.fetch(BLOCKS - 1)
    scene.report(NEW)
    scene.bench.activities.clear()
    scene.fetch(BLOCKS - 1)

    assert scene.take() == []
    assert scene.state is FirmwareState.CURRENT


async def test_the_rest_of_an_image_that_was_served_before_is_a_download_again(scene: Scene) -> None:
    """Else the update would be offered for ever: nobody would see that it fails the second time, too."""
    await scene.reach(FirmwareState.INITIALIZING)
    offered = scene.report()
    scene.bench.activities.clear()
    scene.download(HALF)
    told = scene.changes()
    again = scene.report()

    assert offered
    assert (told[0]["state"], told[0]["percent"]) == ("Downloading", "55")
    assert told[0]["message"] == "goes on with block 10, was at block 19 (100 %)"
    assert (told[-1]["state"], told[-1]["percent"]) == ("Updating", "100")
    assert not again
    assert scene.state is FirmwareState.UPDATE_FAILED


async def test_a_timed_out_device_that_requests_a_block_downloads_again(scene: Scene) -> None:
    """It was served to its end, and lost some of that."""
    await scene.reach(FirmwareState.TIMED_OUT, whole=True)
    scene.fetch(HALF)

    assert scene.state is FirmwareState.DOWNLOADING


async def test_an_image_of_one_block_is_downloaded_at_once(scene: Scene) -> None:
    """Requested, downloading, updating: all in one."""
    await scene.target(await scene.bench.image(scene.collection, "2.0", b"tiny"))
    scene.bench.activities.clear()
    chunk = scene.fetch(0, 512)
    events = scene.bench.events

    assert chunk.octets == b"tiny"
    assert not chunk.more
    assert [each["percent"] for each in scene.changes()] == ["100", "100"]
    assert len({each.correlation_id for each in events}) == 1
    assert scene.state is FirmwareState.UPDATING


async def test_a_device_may_download_the_image_that_it_runs(scene: Scene) -> None:
    """Installed anew; an interruption of that is told as any other."""
    await scene.reach(FirmwareState.CURRENT)
    scene.download(end=HALF)
    scene.wait(STALL)
    stopped = scene.state
    scene.report(NEW)

    assert stopped is FirmwareState.TIMED_OUT
    assert scene.state is FirmwareState.CURRENT


async def test_a_download_never_becomes_a_mixture(scene: Scene) -> None:
    """The target changes in the middle: the rest is refused, block 0 of the new image is not."""
    other = await scene.bench.image(scene.collection, "1.2", IMAGE[::-1])
    scene.download(end=HALF)
    scene.bench.activities.clear()
    await scene.target(other)
    (change,) = scene.changes()
    refusal = scene.refused(HALF)
    ((name, rejected),) = scene.bench.drain()
    whole = scene.download()

    assert (change["from"], change["state"], change["targetVersion"]) == ("Downloading", "Pending", "1.2")
    assert change["message"] == "should run 1.2 now; its download had come to block 9"
    assert refusal.reason is MessageRejectedReason.IMAGE_CHANGED
    assert (name, rejected["reason"]) == ("messageRejected", "imageChanged")
    assert rejected["detail"] == "block 10 is asked for, but the image is 1.2 now: begin with block 0"
    assert whole == IMAGE[::-1]
    assert scene.state is FirmwareState.UPDATING


async def test_a_target_that_changes_and_comes_back_lets_the_download_go_on(scene: Scene) -> None:
    """It is the same image."""
    first = scene.download(end=HALF)
    await scene.target(None)
    withdrawn = (scene.state, scene.refused(HALF).reason)
    await scene.target(scene.image)
    scene.bench.activities.clear()
    rest = scene.download(HALF)
    resumed = scene.changes()[0]

    assert withdrawn == (FirmwareState.CURRENT, MessageRejectedReason.NO_FIRMWARE)
    assert first + rest == IMAGE
    assert resumed["message"] == "goes on with block 10, was at block 9 (50 %)"


@pytest.mark.parametrize("cut", [None, len(IMAGE) - 1])
async def test_an_image_whose_file_is_broken_is_not_served(scene: Scene, cut: int | None) -> None:
    """Neither a missing file nor one that is too short becomes an image on a device."""
    path = scene.bench.image_file(scene.image.id)
    if cut is None:
        path.unlink()
    else:
        path.write_bytes(IMAGE[:cut])
    refusal = scene.refused(BLOCKS - 1)

    assert refusal.reason is MessageRejectedReason.STORAGE_FAILED
    assert scene.take() == ["messageRejected"]
    assert scene.bench.firmware.downloads.unreadable == 1


async def test_later_blocks_do_not_count_as_messages(tmp_path: Path) -> None:
    """Up to a rate of their own; what begins a download, or is told, counts."""
    messages = {"rate": 1.0, "burst": 3, "block_rate": 15.0}
    async with fleet_bench(tmp_path, messages=messages) as bench:
        device = await bench.device()
        image = await bench.image(device.collection, NEW, bytes(1_000_000))
        change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
        await bench.collections.update(device.collection, change, cause=CAUSE)
        scene = Scene(bench, device, image)
        served = 0
        while bench.reception.admit(device, REMOTE, transport=Transport.COAP, size=20) is None:
            scene.fetch(served)
            served += 1

    assert served == 1 + 16 + 3
    assert bench.names[-1] == "messageRejected"
