"""What happens to firmware images."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.errors import Conflict, InvalidRequest, LimitReached, NotFound, StorageUnavailable, TooLarge
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.firmware.images import ImageChange
from span_events.ids import render
from span_events.registry.model import Collection, Device, Management
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench


def files(bench: FleetBench) -> list[str]:
    """List the files of images."""
    return sorted(each.name for each in (bench.folder / "firmware").iterdir())


async def reported(bench: FleetBench, collection: Collection, version: str) -> Device:
    """Make a device that has reported a version."""
    device = await bench.device(collection=collection)
    device.firmware.firmware_version = version
    return device


async def aim(bench: FleetBench, device: Device, image_id: int) -> None:
    """Give a device a target."""
    await bench.devices.update(device, DeviceChange(target_firmware_id=image_id), cause=CAUSE)


async def test_an_image_is_created_from_an_upload(bench: FleetBench) -> None:
    """Its digest and length are counted here; its octets are in a file, its row in the registry."""
    collection = await bench.collection()
    octets = bytes(range(256)) * 1000
    async with bench.images.upload(collection) as upload:
        for start in range(0, len(octets), 10_000):
            await upload.write(octets[start : start + 10_000])
        image = await bench.images.create(
            collection, upload, version="1.0", filename="fw.bin", tags={"a": "b"}, cause=CAUSE
        )
    contents = await bench.store.load()

    assert (image.version, image.filename, image.tags, image.enabled) == ("1.0", "fw.bin", {"a": "b"}, True)
    assert (image.length, image.sha256) == (len(octets), hashlib.sha256(octets).hexdigest())
    assert image.created_ms == bench.clock.time_ns() // 1_000_000
    assert contents.images == list(bench.directory.images.of(collection.id)) == [image]
    assert bench.image_file(image.id).read_bytes() == octets


async def test_an_unused_upload_is_removed(bench: FleetBench) -> None:
    """Also what is empty."""
    collection = await bench.collection()
    async with bench.images.upload(collection) as upload:
        await upload.write(b"x")
    async with bench.images.upload(collection) as upload:
        with pytest.raises(InvalidRequest, match="image: is empty"):
            await bench.images.create(collection, upload, version="1", cause=CAUSE)

    assert files(bench) == []


@pytest.mark.parametrize(
    ("version", "octets", "detail"),
    [
        ("1.0", b"other", "version: collection {c} has version 1.0 already, as image {i}"),
        ("1.1", b"one", "image: collection {c} has these octets already, as image {i} (version 1.0)"),
    ],
)
async def test_version_and_octets_are_unique_in_a_collection(
    bench: FleetBench, version: str, octets: bytes, detail: str
) -> None:
    """Another collection may have the same."""
    collection, other = await bench.collection(), await bench.collection()
    image = await bench.image(collection, "1.0", b"one")
    with pytest.raises(Conflict) as refused:
        await bench.image(collection, version, octets)
    there = await bench.image(other, version, octets)

    assert refused.value.detail == detail.format(c=render(collection.id), i=render(image.id))
    assert refused.value.field == detail.partition(":")[0]
    assert files(bench) == sorted([render(image.id), render(there.id)])


async def test_of_two_uploads_at_once_one_is_the_image(bench: FleetBench) -> None:
    """The other is told, and its file is deleted."""
    collection = await bench.collection()
    found = await asyncio.gather(*(bench.image(collection) for _ in range(4)), return_exceptions=True)
    (image,) = (await bench.store.load()).images

    assert sorted(type(each).__name__ for each in found) == ["Conflict", "Conflict", "Conflict", "Image"]
    assert files(bench) == [render(image.id)]


async def test_the_octets_have_a_limit(tmp_path: Path) -> None:
    """What is one octet over it is refused before it is written."""
    async with fleet_bench(tmp_path, firmware={"max_image": 10}) as bench:
        collection = await bench.collection()
        await bench.image(collection, octets=b"x" * 10)
        async with bench.images.upload(collection) as upload:
            await upload.write(b"y" * 10)
            with pytest.raises(TooLarge, match=r"image: is over 10 octets \(firmware.max_image\)"):
                await upload.write(b"z")


async def test_concurrent_uploads_are_limited(tmp_path: Path) -> None:
    """One that ended, in whatever way, counts no longer."""
    async with fleet_bench(tmp_path, firmware={"uploads": 2}) as bench:
        collection = await bench.collection()
        async with bench.images.upload(collection), bench.images.upload(collection):
            (value,) = [each.value() for each in bench.images.metrics() if each.name == "firmware_uploads"]
            with pytest.raises(LimitReached, match=r"2 images are being uploaded already, at most 2 \(firmware.up"):
                await bench.image(collection)
        await bench.image(collection)

    assert value == 2


async def test_the_images_of_a_collection_are_limited(tmp_path: Path) -> None:
    """Each upload looks twice, since others may end before it; a move counts, too."""
    async with fleet_bench(tmp_path, firmware={"images_per_collection": 2}) as bench:
        collection, other = await bench.collection(), await bench.collection()
        found = await asyncio.gather(*(bench.image(collection, each) for each in "123"), return_exceptions=True)
        with pytest.raises(LimitReached, match=rf"{render(collection.id)} has 2 images, at most 2 \(firmware.images_"):
            await bench.image(collection, "4")
        moving = await bench.image(other)
        with pytest.raises(LimitReached):
            await bench.images.update(moving, ImageChange(collection_id=collection.id), cause=CAUSE)

        assert sorted(type(each).__name__ for each in found) == ["Image", "Image", "LimitReached"]
        assert len(files(bench)) == 3


async def test_an_image_needs_its_collection(bench: FleetBench) -> None:
    """It may go while the octets come."""
    collection = await bench.collection()
    async with bench.images.upload(collection) as upload:
        await upload.write(b"x")
        await bench.collections.remove(collection)
        with pytest.raises(NotFound):
            await bench.images.create(collection, upload, version="1", cause=CAUSE)

    assert files(bench) == []


async def test_a_failing_registry_leaves_no_file(bench: FleetBench) -> None:
    collection = await bench.collection()
    await bench.store.close()
    with pytest.raises(StorageUnavailable):
        await bench.image(collection)

    assert files(bench) == []
    assert len(bench.directory.images) == 0


async def test_a_change_keeps_the_fields_that_it_does_not_name(bench: FleetBench) -> None:
    """Tags are merged; the octets stay as they are."""
    collection = await bench.collection()
    image = await bench.image(collection)
    await bench.images.update(image, ImageChange(tags={"a": "1"}), cause=CAUSE)
    await bench.images.update(image, ImageChange(enabled=False), cause=CAUSE)
    changed = await bench.images.update(image, ImageChange(tags={"b": "2"}, version="2.0"), cause=CAUSE)

    assert (changed.version, changed.tags, changed.enabled) == ("2.0", {"a": "1", "b": "2"}, False)
    assert (changed.id, changed.sha256, changed.created_ms) == (image.id, image.sha256, image.created_ms)
    assert (await bench.store.load()).images == [bench.directory.images.get(image.id)] == [changed]


async def test_a_version_cannot_become_that_of_another_image(bench: FleetBench) -> None:
    """Keeping its own version is no conflict."""
    collection = await bench.collection()
    first, second = await bench.image(collection, "1"), await bench.image(collection, "2")
    kept = await bench.images.update(second, ImageChange(version="2"), cause=CAUSE)
    with pytest.raises(Conflict, match=f"has version 1 already, as image {render(first.id)}"):
        await bench.images.update(second, ImageChange(version="1"), cause=CAUSE)

    assert kept == second


async def test_an_image_moves_with_its_octets(bench: FleetBench) -> None:
    """The other collection must not have its version or octets."""
    old, new, third = await bench.collection(), await bench.collection(), await bench.collection()
    image = await bench.image(old, "1.0", b"one")
    await bench.image(third, "2.0", b"one")
    with pytest.raises(Conflict, match="has these octets already"):
        await bench.images.update(image, ImageChange(collection_id=third.id), cause=CAUSE)
    moved = await bench.images.update(image, ImageChange(collection_id=new.id), cause=CAUSE)
    await bench.collections.remove(old)

    assert list(bench.directory.images.of(new.id)) == [moved]
    assert bench.image_files.read(moved.file, 0, 9) == b"one"


async def test_a_removed_image_is_gone_with_its_octets(bench: FleetBench) -> None:
    """Another image may then have this version."""
    collection = await bench.collection()
    image = await bench.image(collection)
    await bench.images.remove(image, cause=CAUSE)
    for attempt in (bench.images.remove(image, cause=CAUSE), bench.images.update(image, ImageChange(), cause=CAUSE)):
        with pytest.raises(NotFound):
            await attempt

    assert files(bench) == []
    assert (await bench.store.load()).images == []
    assert (await bench.image(collection)).version == image.version


async def test_a_file_that_cannot_be_deleted_is_logged(bench: FleetBench) -> None:
    """The image is gone all the same."""
    image = await bench.image(await bench.collection())
    path = bench.image_file(image.id)
    path.unlink()
    path.mkdir()
    with capture_logs() as logs:
        await bench.images.remove(image, cause=CAUSE)

    assert len(bench.directory.images) == 0
    assert [(each["event"], each["image"]) for each in logs] == [("image_file_left", render(image.id))]


async def test_a_change_persists_if_the_devices_that_run_the_image_cannot_be_written(
    bench: FleetBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets the error, and the image with its octets is removed nevertheless."""
    collection = await bench.collection()
    device = await reported(bench, collection, "1.0")
    image = await bench.image(collection, "1.0")
    published: list[bool] = []
    bench.images.on_changed.append(lambda image, _cause: published.append(image.enabled))

    async def refuse(_devices: object) -> None:
        raise StorageUnavailable("the disk is full")

    monkeypatch.setattr(bench.store, "put_devices", refuse)
    with capture_logs() as logs:
        await bench.images.update(image, ImageChange(enabled=False), cause=CAUSE)
        await bench.images.remove(image, cause=CAUSE)

    assert published == [False, False]
    assert files(bench) == []
    assert device.firmware.current_firmware_id == 0
    assert {each["event"] for each in logs} == {"current_images_not_written"}


@pytest.mark.parametrize(
    ("by_collection", "devices", "users"),
    [
        (True, 0, "collection {c}"),
        (False, 1, "device {0}"),
        (False, 2, "2 devices ({0}, {1})"),
        (True, 7, "collection {c} and of 7 devices ({0}, {1}, {2}, {3}, {4} and 2 more)"),
    ],
)
async def test_an_image_that_is_a_target_stays(
    bench: FleetBench, by_collection: bool, devices: int, users: str
) -> None:
    """The management mode plays no part; the refusal names the users, and disabling is allowed."""
    collection, other = await bench.collection(), await bench.collection()
    image = await bench.image(collection)
    owners = [await bench.device(collection=collection) for _ in range(devices)]
    for each in owners:
        await aim(bench, each, image.id)
    if by_collection:
        await bench.collections.update(collection, CollectionChange(target_firmware_id=image.id), cause=CAUSE)
    refused = []
    for attempt in (
        bench.images.remove(image, cause=CAUSE),
        bench.images.update(image, ImageChange(collection_id=other.id), cause=CAUSE),
    ):
        with pytest.raises(Conflict) as caught:
            await attempt
        refused.append(caught.value.detail)
    disabled = await bench.images.update(image, ImageChange(enabled=False), cause=CAUSE)

    names = users.format(*(render(each.id) for each in owners), c=render(collection.id))
    assert refused == [f"Image {render(image.id)} (version 1.0) is the target of {names}"] * 2
    assert not disabled.enabled
    assert bench.image_files.read(image.file, 0, 9) == b"1.0"


@pytest.mark.parametrize("target_first", [True, False])
async def test_no_device_gets_a_target_that_is_being_removed(bench: FleetBench, target_first: bool) -> None:
    """The first caller wins; the other gets a conflict."""
    device = await bench.device()
    image = await bench.image(device.collection)
    aiming, removing = aim(bench, device, image.id), bench.images.remove(image, cause=CAUSE)
    order = (aiming, removing) if target_first else (removing, aiming)
    _, second = await asyncio.gather(*order, return_exceptions=True)

    assert isinstance(second, Conflict if target_first else InvalidRequest)
    assert device.firmware.target_firmware_id == (image.id if target_first else 0)


async def test_devices_know_the_image_of_the_version_that_they_run(bench: FleetBench) -> None:
    """This follows creation, change and removal of images, also in the registry."""
    collection, other = await bench.collection(), await bench.collection()
    device, silent = await reported(bench, collection, "1.0"), await bench.device(collection=collection)
    seen = []

    async def look() -> None:
        stored = {each.id: each for each in (await bench.store.load()).devices}
        assert stored[device.id].firmware == device.firmware
        seen.append(device.firmware.current_firmware_id)

    image = await bench.image(collection, "1.0")
    await look()
    for change in (
        ImageChange(version="1.1"),
        ImageChange(version="1.0"),
        ImageChange(collection_id=other.id),
        ImageChange(collection_id=collection.id),
    ):
        image = await bench.images.update(image, change, cause=CAUSE)
        await look()
    await bench.images.remove(image, cause=CAUSE)
    await look()

    assert seen == [image.id, 0, image.id, 0, image.id, 0]
    assert silent.firmware.current_firmware_id == 0


async def test_a_collection_forgets_a_current_image_that_is_gone(bench: FleetBench) -> None:
    """The collection's current image is only a note, so it does not protect the image."""
    collection = await bench.collection()
    image = await bench.image(collection)
    await bench.collections.update(collection, CollectionChange(current_firmware_id=image.id), cause=CAUSE)
    await bench.images.remove(image, cause=CAUSE)
    (stored,) = (await bench.store.load()).collections

    assert stored.firmware.current_firmware_id == collection.firmware.current_firmware_id == 0


async def test_a_moved_device_has_no_target_and_the_image_of_its_version(bench: FleetBench) -> None:
    """Images belong to collections; the move may name a target of the new one."""
    old, new = await bench.collection(), await bench.collection()
    device = await reported(bench, old, "1.0")
    here, there, next_there = await bench.image(old), await bench.image(new), await bench.image(new, "2.0")
    await aim(bench, device, here.id)
    seen = [(device.firmware.current_firmware_id, device.firmware.target_firmware_id)]
    for change in (
        DeviceChange(collection_id=new.id),
        DeviceChange(collection_id=old.id),
        DeviceChange(collection_id=new.id, target_firmware_id=next_there.id),
    ):
        await bench.devices.update(device, change, cause=CAUSE)
        (stored,) = (await bench.store.load()).devices
        assert stored.firmware == device.firmware
        seen.append((device.firmware.current_firmware_id, device.firmware.target_firmware_id))

    assert seen == [(here.id, here.id), (there.id, 0), (here.id, 0), (there.id, next_there.id)]


async def test_every_change_is_notified(bench: FleetBench) -> None:
    """Changes of images and of targets are notified with the id of their cause."""
    heard: list[tuple[str, object, int]] = []
    bench.images.on_changed.append(lambda image, cause: heard.append(("image", image, cause)))
    bench.collections.on_updated.append(lambda collection, change, cause: heard.append(("collection", change, cause)))
    collection = await bench.collection()
    image = await bench.image(collection)
    disabled = await bench.images.update(image, ImageChange(enabled=False), cause=5)
    change = CollectionChange(management=Management.COLLECTION)
    await bench.collections.update(collection, change, cause=6)
    await bench.images.remove(disabled, cause=7)

    assert heard == [("image", image, CAUSE), ("image", disabled, 5), ("collection", change, 6), ("image", disabled, 7)]
