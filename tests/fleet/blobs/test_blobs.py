"""Blobs: whole uploads are stored within the limits; refused ones are published with the reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from span_events.config import BlobsConfig
from span_events.errors import Conflict, NotFound
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.blobs.uploads import Upload, UploadRefused
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.registry.model import Blob, Device
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.waiting import until

REMOTE = ("10.0.0.9", 4000)
PROPERTIES = {"address": "10.0.0.9:4000", "method": "POST", "path": "/x"}
LIMITS: dict[str, Any] = {
    "max_size": 1000,
    "per_collection": 3,
    "octets_per_collection": 2000,
    "total_octets": 3000,
    "uploads": 3,
    "uploads_per_device": 2,
}


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[FleetBench]:
    """A fleet with small limits."""
    async with fleet_bench(tmp_path, blobs=LIMITS) as bench:
        yield bench


def begin(fleet: FleetBench, device: Device, size: int = 0, pause: float | None = None) -> Upload:
    """Begin an upload."""
    return fleet.blobs.begin(device, size=size, remote=REMOTE, transport=Transport.HTTP, pause=pause)


async def store(fleet: FleetBench, device: Device, octets: bytes = b"octets", declared: str = "") -> Blob:
    """Upload a blob."""
    upload = begin(fleet, device, len(octets))
    await upload.write(octets)
    return await fleet.blobs.finish(upload, properties=PROPERTIES, declared=declared)


def files(fleet: FleetBench) -> list[str]:
    """Names of all files, finished or not."""
    return sorted(os.listdir(fleet.folder / "blobs"))


def refusal_of(caught: pytest.ExceptionInfo[UploadRefused]) -> tuple[MessageRejectedReason, str]:
    """Return why an upload was refused."""
    return caught.value.reason, caught.value.detail


async def test_an_upload_becomes_a_blob_and_an_event(fleet: FleetBench) -> None:
    """The file is written before the row, and both before the event."""
    device = await fleet.device()
    blob = await store(fleet, device, b"\xff\xd8\xff photo")

    assert fleet.directory.blobs.find(device.collection.id, blob.id) == blob
    assert (await fleet.store.load()).blobs == [blob]
    assert fleet.blob_file(blob).read_bytes() == b"\xff\xd8\xff photo"
    assert (blob.size, blob.device_id, blob.properties) == (9, device.id, PROPERTIES)
    assert fleet.published == [
        ("blobUpload", {"blobId": render(blob.id), "size": "9", "contentType": "image/jpeg", "path": "/x"})
    ]
    assert fleet.events[0].origin == device.origin


async def test_the_first_octets_give_the_media_type_in_any_chunks(fleet: FleetBench) -> None:
    """Blocks of one octet are accepted as well."""
    upload = begin(fleet, await fleet.device())
    for octet in b"%PDF-1.7":
        upload.append(bytes([octet]))
    blob = await fleet.blobs.finish(upload, properties=PROPERTIES, declared="text/plain")

    assert blob.content_type == "application/pdf"


async def test_a_dropped_upload_leaves_no_file(fleet: FleetBench) -> None:
    """Neither file nor row nor event, and its room is free again."""
    upload = begin(fleet, await fleet.device(), 1000)
    await upload.write(b"x" * 1000)
    fleet.blobs.drop(upload)
    fleet.blobs.drop(upload)
    await until(lambda: not files(fleet))

    assert not upload.is_open
    assert fleet.published == []
    assert values(fleet.blobs) == {"blobs": 0, "blob_bytes": 0, "blob_uploads": 0, "blob_uploads_finished": 0}


async def test_cancelling_does_not_interrupt_the_last_step(fleet: FleetBench) -> None:
    """A listener that ends must not leave a file without a row, or the other way round."""
    upload = begin(fleet, await fleet.device())
    await upload.write(b"octets")
    task = asyncio.create_task(fleet.blobs.finish(upload, properties=PROPERTIES, declared=""))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    fleet.blobs.drop(upload)
    await fleet.blobs.close()

    assert [each.size for each in (await fleet.store.load()).blobs] == [6]
    assert files(fleet) == [render(upload.blob_id)]


async def test_closing_removes_running_uploads(fleet: FleetBench) -> None:
    upload = begin(fleet, await fleet.device())
    upload.append(b"octets")
    await fleet.blobs.close()

    assert files(fleet) == []


@pytest.mark.parametrize("size", [0, 1000])
async def test_a_blob_may_be_as_large_as_the_limit_and_empty(fleet: FleetBench, size: int) -> None:
    assert (await store(fleet, await fleet.device(), b"x" * size)).size == size


async def test_a_blob_over_the_limit_is_refused_before_its_content(fleet: FleetBench) -> None:
    device = await fleet.device()
    with pytest.raises(UploadRefused) as caught:
        begin(fleet, device, 1001)

    assert refusal_of(caught) == (MessageRejectedReason.TOO_LARGE, "1001 octets, at most 1000 (blobs.max_size)")
    assert caught.value.limit == 1000
    assert files(fleet) == []


async def test_a_blob_that_grows_over_the_limit_is_refused(fleet: FleetBench) -> None:
    """Its size need not be known before."""
    upload = begin(fleet, await fleet.device())
    upload.append(b"x" * 1000)
    with pytest.raises(UploadRefused) as caught:
        upload.append(b"x")

    assert caught.value.reason is MessageRejectedReason.TOO_LARGE


async def test_uploads_of_one_device_are_limited(fleet: FleetBench) -> None:
    """One device must not use up the uploads of all others."""
    device, other = await fleet.device(), await fleet.device()
    begin(fleet, device), begin(fleet, device)
    with pytest.raises(UploadRefused) as caught:
        begin(fleet, device)
    begin(fleet, other)
    with pytest.raises(UploadRefused) as all_busy:
        begin(fleet, other)

    assert refusal_of(caught) == (MessageRejectedReason.SERVER_BUSY, "blobs.uploads_per_device is 2")
    assert refusal_of(all_busy) == (MessageRejectedReason.SERVER_BUSY, "blobs.uploads is 3")


async def test_the_blobs_of_a_collection_are_limited(fleet: FleetBench) -> None:
    """Running uploads count; deleted blobs do not."""
    collection = await fleet.collection()
    devices = [await fleet.device(collection=collection) for _ in range(2)]
    blob = await store(fleet, devices[0])
    await store(fleet, devices[0])
    begin(fleet, devices[0])
    with pytest.raises(UploadRefused) as caught:
        begin(fleet, devices[1])
    await fleet.blobs.remove(blob)
    begin(fleet, devices[1])

    assert refusal_of(caught) == (MessageRejectedReason.STORAGE_FULL, "blobs.per_collection is 3")
    assert caught.value.limit == 3


async def test_the_octets_of_a_collection_are_limited(fleet: FleetBench) -> None:
    """An upload reserves its size at the start, so that two uploads cannot exceed the limit together."""
    device = await fleet.device()
    await store(fleet, device, b"x" * 1000)
    upload = begin(fleet, device, 600)
    with pytest.raises(UploadRefused) as caught:
        begin(fleet, device, 401)
    begin(fleet, device, 400)
    with pytest.raises(UploadRefused) as grown:
        upload.append(b"x" * 601)

    assert refusal_of(caught) == (MessageRejectedReason.STORAGE_FULL, "blobs.octets_per_collection is 2000")
    assert grown.value.reason is MessageRejectedReason.STORAGE_FULL


async def test_the_octets_of_all_collections_are_limited(fleet: FleetBench) -> None:
    first, second = await fleet.device(), await fleet.device()
    for _ in range(2):
        await store(fleet, first, b"x" * 1000)
    begin(fleet, second, 600)
    with pytest.raises(UploadRefused) as caught:
        begin(fleet, second, 401)

    assert refusal_of(caught) == (MessageRejectedReason.STORAGE_FULL, "blobs.total_octets is 3000")


async def test_blobs_of_an_earlier_run_count(fleet: FleetBench) -> None:
    """Blobs in the directory count from the start."""
    device = await fleet.device()
    await store(fleet, device, b"x" * 1000)
    again = Blobs(
        BlobsConfig(**LIMITS),
        reception=fleet.reception,
        bus=fleet.bus,
        files=fleet.blob_files,
        registry=fleet.registry,
        clock=fleet.clock,
    )
    again.begin(device, size=900, remote=REMOTE, transport=Transport.HTTP)
    with pytest.raises(UploadRefused):
        again.begin(device, size=101, remote=REMOTE, transport=Transport.HTTP)
    await again.close()

    assert values(again)["blob_bytes"] == 1000


async def test_a_device_removed_during_its_upload_stores_nothing(fleet: FleetBench) -> None:
    """An upload may take an hour."""
    device = await fleet.device()
    upload = begin(fleet, device)
    await fleet.devices.remove(device, cause=CAUSE)
    with pytest.raises(UploadRefused) as caught:
        await fleet.blobs.finish(upload, properties=PROPERTIES, declared="")

    assert caught.value.reason is MessageRejectedReason.DEVICE_REMOVED
    assert files(fleet) == []


async def test_a_device_disabled_during_its_upload_stores_nothing(fleet: FleetBench) -> None:
    device = await fleet.device()
    upload = begin(fleet, device)
    await fleet.devices.update(device, DeviceChange(enabled=False), cause=CAUSE)
    with pytest.raises(UploadRefused) as caught:
        await fleet.blobs.finish(upload, properties=PROPERTIES, declared="")

    assert caught.value.reason is MessageRejectedReason.DEVICE_DISABLED
    assert files(fleet) == []


async def test_a_device_moved_during_its_upload_stores_in_its_new_collection(fleet: FleetBench) -> None:
    """Earlier blobs stay in the old collection."""
    device, target = await fleet.device(), await fleet.collection()
    before = await store(fleet, device)
    upload = begin(fleet, device)
    await fleet.devices.update(device, DeviceChange(collection_id=target.id), cause=CAUSE)
    after = await fleet.blobs.finish(upload, properties=PROPERTIES, declared="")

    assert after.collection_id == target.id
    assert before.collection_id != target.id
    assert [each.id for each in fleet.directory.blobs.of(target.id)] == [after.id]


async def test_a_blob_outlives_its_device_and_keeps_its_collection(fleet: FleetBench) -> None:
    """A collection can be removed once its blobs are removed."""
    device = await fleet.device()
    blob = await store(fleet, device)
    await fleet.devices.remove(device, cause=CAUSE)
    with pytest.raises(Conflict, match="still has 1 blob"):
        await fleet.collections.remove(device.collection)
    await fleet.blobs.remove(blob)
    await fleet.collections.remove(device.collection)

    assert files(fleet) == []


async def test_a_removed_blob_leaves_no_file(fleet: FleetBench) -> None:
    blob = await store(fleet, await fleet.device())
    await fleet.blobs.remove(blob)
    with pytest.raises(NotFound):
        await fleet.blobs.remove(blob)

    assert (await fleet.store.load()).blobs == []
    assert files(fleet) == []
    assert values(fleet.blobs)["blob_bytes"] == 0


async def test_a_failing_disk_is_reported_without_its_path(fleet: FleetBench) -> None:
    """The folder is gone: nothing can be written or renamed there."""
    device = await fleet.device()
    upload = begin(fleet, device)
    (fleet.folder / "blobs").rename(fleet.folder / "elsewhere")
    with pytest.raises(UploadRefused) as at_the_end:
        await fleet.blobs.finish(upload, properties=PROPERTIES, declared="")
    with pytest.raises(UploadRefused) as at_the_beginning:
        begin(fleet, device)

    for caught in (at_the_end, at_the_beginning):
        assert refusal_of(caught) == (MessageRejectedReason.STORAGE_FAILED, "the server cannot store it now")
    assert fleet.directory.blobs.count(device.collection.id) == 0
    assert values(fleet.blobs)["blob_uploads"] == 0


async def test_a_failing_registry_leaves_no_file(fleet: FleetBench) -> None:
    upload = begin(fleet, await fleet.device())
    await fleet.store.close()
    with pytest.raises(UploadRefused) as caught:
        await fleet.blobs.finish(upload, properties=PROPERTIES, declared="")

    assert caught.value.reason is MessageRejectedReason.STORAGE_FAILED
    assert files(fleet) == []


async def test_a_paused_upload_is_ended_and_published(fleet: FleetBench) -> None:
    """Other transports have timeouts of their own."""
    device = await fleet.device()
    upload, own = begin(fleet, device, pause=30.0), begin(fleet, device)
    upload.append(b"octets")
    fleet.clock.shift(20.0)
    upload.append(b"more")
    fleet.clock.shift(30.0)
    fleet.blobs.sweep()
    still = upload.is_open
    fleet.clock.shift(0.1)
    fleet.blobs.sweep()
    fleet.blobs.sweep()

    assert still
    assert (upload.is_open, own.is_open) == (False, True)
    assert fleet.published == [
        (
            "messageRejected",
            {
                "reason": "tooSlow",
                "remoteAddress": "10.0.0.9:4000",
                "transport": "http",
                "detail": "nothing came for 30 s after 10 octets (coap.upload_timeout)",
            },
        )
    ]


async def test_a_refusal_is_published_with_all_details(fleet: FleetBench) -> None:
    """It belongs to its device."""
    device = await fleet.device()
    refusal = UploadRefused(MessageRejectedReason.BLOCK_MISSING, "block 3 was expected, 5 came", expected=3, received=5)
    fleet.blobs.refused(refusal, device=device, remote=REMOTE, transport=Transport.COAPS, size=70_000)

    assert fleet.events[0].origin == device.origin
    assert fleet.published == [
        (
            "messageRejected",
            {
                "reason": "blockMissing",
                "remoteAddress": "10.0.0.9:4000",
                "transport": "coaps",
                "bytes": "70000",
                "detail": "block 3 was expected, 5 came",
                "expected": "3",
                "received": "5",
            },
        )
    ]


def values(blobs: Blobs) -> dict[str, Any]:
    """Read the metrics."""
    return {each.name: each.value() for each in blobs.metrics()}
