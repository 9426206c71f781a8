"""Files that are too large for the database."""

from __future__ import annotations

import asyncio
import os
import resource
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from span_events.errors import StorageUnavailable
from span_events.ids import render
from span_events.registry.files.base import StoredFile
from span_events.registry.files.folder import Folder
from tests.registry.files.places import write

ID = 0x1000_4000_0000_0000


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[Folder]:
    """Files in a new folder."""
    found = Folder(tmp_path / "firmware")
    await found.prepare(nothing)
    yield found
    await found.close()


def nothing(_: int) -> bool:
    """Know no row."""
    return False


def names(files: Folder) -> list[str]:
    """List the names in the folder."""
    return sorted(each.name for each in files.path(0).parent.iterdir())


def open_files() -> int:
    """Count the descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


async def test_a_file_is_named_by_its_id_and_for_its_owner_alone(files: Folder) -> None:
    await write(files, ID, b"one", b"", b"two" * 100_000)
    path = files.path(ID)

    assert path.name == render(ID)
    assert path.read_bytes() == b"one" + b"two" * 100_000
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_exists_only_when_it_is_complete(files: Folder) -> None:
    """And when its row is written: until then, no file has this id."""
    async with files.begin(ID) as incoming:
        await incoming.write(b"half")
        meanwhile = [files.path(ID).exists()]
        await incoming.keep()
        meanwhile.append(files.path(ID).exists())
        incoming.name()

    assert meanwhile == [False, False]
    assert names(files) == [render(ID)]


async def test_a_cancelled_write_ends_before_the_file_is_deleted(files: Folder) -> None:
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


async def test_a_file_whose_keeping_was_cancelled_is_discarded(files: Folder) -> None:
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
    files = Folder(tmp_path / "blobs")
    await files.prepare(nothing)
    await write(files, 5, b"known")
    await write(files, 6, b"unknown")
    files.begin(7).append(b"half")
    with capture_logs() as logs:
        await Folder(tmp_path / "blobs").prepare([5].__contains__)

    assert names(files) == ["5", "6"]
    assert [(each["event"], each["count"], each["one"]) for each in logs] == [("files_unknown", 1, "6")]


async def test_only_so_many_files_stay_open_for_reading(files: Folder) -> None:
    """The files that were read last."""
    for identifier in range(1, 101):
        await write(files, identifier, b"%d" % identifier)
    before = open_files()
    found = [
        files.read(StoredFile(identifier, len(str(identifier))), 0, 9) for _ in range(2) for identifier in range(1, 101)
    ]
    opened = open_files() - before
    await files.close()

    assert found == [b"%d" % identifier for identifier in range(1, 101)] * 2
    assert opened == 64
    assert open_files() == before


async def test_a_deleted_file_is_gone_for_readers_too(files: Folder) -> None:
    """Also for those that had it open; deleting it again does nothing."""
    await write(files, ID, b"octets")
    files.read(StoredFile(ID, 6), 0, 3)
    before = open_files()
    await files.delete(ID)
    await files.delete(ID)

    assert open_files() == before - 1
    with pytest.raises(StorageUnavailable, match=f"{render(ID)}: cannot be read: No such file or directory"):
        files.read(StoredFile(ID, 6), 0, 3)


async def test_a_disk_error_names_the_path(files: Folder) -> None:
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


async def test_a_folder_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "firmware").touch()

    with pytest.raises(StorageUnavailable, match="firmware: cannot be made: File exists"):
        await Folder(tmp_path / "firmware").prepare(nothing)
