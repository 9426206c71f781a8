"""Files that are too large for the database."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry.files import Files

ID = 0x1000_4000_0000_0000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[Files]:
    """Files in a new folder."""
    found = Files(tmp_path / "firmware")
    found.prepare()
    yield found
    found.close()


async def write(files: Files, identifier: int, *pieces: bytes) -> None:
    """Write a file of these pieces."""
    async with files.begin(identifier) as incoming:
        for piece in pieces:
            await incoming.write(piece)
        await incoming.keep()
        incoming.name()


def names(files: Files) -> list[str]:
    """List the names in the folder."""
    return sorted(each.name for each in files.path(0).parent.iterdir())


def open_files() -> int:
    """Count the descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


async def test_a_file_is_named_by_its_id_and_for_its_owner_alone(files: Files) -> None:
    await write(files, ID, b"one", b"", b"two" * 100_000)
    path = files.path(ID)

    assert path.name == render(ID)
    assert path.read_bytes() == b"one" + b"two" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_blocks_are_appended_in_place(files: Files) -> None:
    """Transfers arrive block by block; the size is known at any time."""
    incoming = files.begin(ID)
    sizes = []
    for number in range(3):
        incoming.append(bytes([number]) * 1024)
        sizes.append(incoming.size)
    await incoming.keep()
    incoming.name()

    assert sizes == [1024, 2048, 3072]
    assert files.path(ID).read_bytes() == b"\0" * 1024 + b"\1" * 1024 + b"\2" * 1024


async def test_a_file_exists_only_when_it_is_complete(files: Files) -> None:
    """And when its row is written: until then, no file has this id."""
    async with files.begin(ID) as incoming:
        await incoming.write(b"half")
        meanwhile = [files.path(ID).exists()]
        await incoming.keep()
        meanwhile.append(files.path(ID).exists())
        incoming.name()

    assert meanwhile == [False, False]
    assert names(files) == [render(ID)]


async def test_a_broken_upload_leaves_nothing(files: Files) -> None:
    """Whatever breaks it, and discarding again does nothing."""
    incoming = files.begin(ID)

    async def upload() -> None:
        async with incoming:
            await incoming.write(b"half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        await upload()
    await incoming.discard()

    assert names(files) == []


async def test_a_kept_file_is_not_discarded(files: Files) -> None:
    await write(files, ID, b"whole")
    async with files.begin(ID + 1) as incoming:
        await incoming.keep()
        await incoming.discard()
        incoming.name()

    assert names(files) == [render(ID), render(ID + 1)]


async def test_a_cancelled_write_ends_before_the_file_is_deleted(files: Files) -> None:
    """Its thread continues, so the file is closed after it: otherwise it could write into another file."""
    before = open_files()
    incoming = files.begin(ID)
    with incoming._lock:  # a disk that takes its time
        writing = asyncio.ensure_future(incoming.write(b"x" * 1_000_000))
        await asyncio.sleep(0)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        discarding = asyncio.ensure_future(incoming.discard())
        await asyncio.sleep(0)
    await discarding

    assert names(files) == []
    assert open_files() == before


async def test_a_file_whose_keeping_was_cancelled_is_discarded(files: Files) -> None:
    """No caller knows of the file."""
    incoming = files.begin(ID)
    await incoming.write(b"x")
    with incoming._lock:
        keeping = asyncio.ensure_future(incoming.keep())
        await asyncio.sleep(0)
        keeping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await keeping
    await incoming.discard()

    assert names(files) == []


async def test_a_start_deletes_unfinished_files_only(tmp_path: Path) -> None:
    """A file that the registry does not know is named, for it may belong to another registry."""
    files = Files(tmp_path / "blobs")
    files.prepare()
    await write(files, 5, b"known")
    await write(files, 6, b"unknown")
    files.begin(7).append(b"half")
    with capture_logs() as logs:
        Files(tmp_path / "blobs").prepare([5])

    assert names(files) == ["5", "6"]
    assert [(each["event"], each["count"], each["one"]) for each in logs] == [("files_unknown", 1, "6")]


async def test_the_row_of_a_pending_file_decides_over_it(tmp_path: Path) -> None:
    """After a crash between row and file: of an upload, before and after its row, and of a deletion, likewise."""
    files = Files(tmp_path / "blobs")
    files.prepare()
    for each in (1, 2):
        async with files.begin(each) as incoming:
            await incoming.write(b"uploaded")
            await incoming.keep()
    for each in (3, 4):
        await write(files, each, b"stored")
        with files.deleting(each):
            pass  # the process ends before the file is deleted
    with capture_logs() as logs:
        Files(tmp_path / "blobs").prepare([1, 3])

    assert names(files) == ["1", "3"]
    assert [each["event"] for each in logs] == ["file_without_row_removed"] * 2
    assert {(each["path"], each["octets"]) for each in logs} == {
        (str(tmp_path / "blobs" / "2"), 8),
        (str(tmp_path / "blobs" / "4"), 6),
    }


async def test_a_failed_deletion_of_the_row_keeps_the_file(files: Files) -> None:
    await write(files, ID, b"stored")
    with pytest.raises(ConnectionError), files.deleting(ID):
        raise ConnectionError
    kept = files.read(ID, 0, 9)
    with files.deleting(ID):
        pass
    await files.delete(ID)

    assert kept == b"stored"
    assert names(files) == []


async def test_any_block_is_read_at_any_time(files: Files) -> None:
    """Fewer octets at the end, none behind it."""
    await write(files, ID, bytes(range(10)))
    blocks = [files.read(ID, offset, 4) for offset in (4, 0, 4, 8, 12)]

    assert blocks == [bytes([4, 5, 6, 7]), bytes([0, 1, 2, 3]), bytes([4, 5, 6, 7]), bytes([8, 9]), b""]


async def test_only_so_many_files_stay_open_for_reading(files: Files) -> None:
    """The files that were read last."""
    for identifier in range(1, 101):
        await write(files, identifier, b"%d" % identifier)
    before = open_files()
    found = [files.read(identifier, 0, 9) for _ in range(2) for identifier in range(1, 101)]
    opened = open_files() - before
    files.close()

    assert found == [b"%d" % identifier for identifier in range(1, 101)] * 2
    assert opened == 64
    assert open_files() == before


async def test_a_deleted_file_is_gone_for_readers_too(files: Files) -> None:
    """Also for those that had it open; deleting it again does nothing."""
    await write(files, ID, b"octets")
    files.read(ID, 0, 3)
    before = open_files()
    await files.delete(ID)
    await files.delete(ID)

    assert open_files() == before - 1
    with pytest.raises(StorageUnavailable, match=f"{render(ID)}: cannot be read: No such file or directory"):
        files.read(ID, 0, 3)


async def test_a_disk_error_names_the_path(files: Files) -> None:
    """The written part of the file is deleted."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    incoming = files.begin(ID)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(StorageUnavailable, match=f"{render(ID)}: cannot be written: File too large"):
            await incoming.write(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    await incoming.discard()

    assert names(files) == []


def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "firmware").touch()

    with pytest.raises(StorageUnavailable, match="firmware: cannot be made: File exists"):
        Files(tmp_path / "firmware").prepare()


@pytest.mark.parametrize("size", [9, 11])
async def test_a_file_of_another_size_is_refused(files: Files, size: int) -> None:
    """At once as a whole, and with the block that shows it."""
    await write(files, ID, bytes(10))
    first = files.read(ID, 0, 8, size=size)

    assert first == bytes(8)
    assert files.whole(ID, 10) == files.path(ID)
    with pytest.raises(StorageUnavailable, match=f"{render(ID)}: has 10 octets, wanted {size}"):
        files.whole(ID, size)
    with pytest.raises(StorageUnavailable, match=f"{render(ID)}: does not have {size} octets"):
        files.read(ID, 8, 8, size=size)
