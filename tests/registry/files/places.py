"""Files in a new folder or bucket, and looks behind them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Protocol

from span_events.clock import SystemClock
from span_events.config import FilesConfig
from span_events.registry.files.base import BeingFetched, Files, StoredFile
from span_events.registry.files.opening import open_files
from tests.bench.peers.versitygw import ObjectStoreServer


class Place(Protocol):
    """The place of a test's files."""

    def open(self) -> Files:
        """Open the images as another process does."""

    def names(self) -> list[str]:
        """List the names of all that is kept, in order."""

    def age(self) -> None:
        """Let two hours pass for everything that is there."""


class FolderPlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> Files:
        return open_files(FilesConfig(url=str(self.folder)), self.folder / "none", SystemClock()).images

    def names(self) -> list[str]:
        return sorted(each.name for each in (self.folder / "firmware").iterdir())

    def age(self) -> None:
        age(self.folder)


class BucketPlace:
    """A prefix in a bucket; each process has local copies of its own."""

    def __init__(self, server: ObjectStoreServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.prefix = folder.name
        self._locks: list[IO[str] | None] = []

    def open(self) -> Files:
        config = FilesConfig.model_validate(self.server.settings(self.prefix) | {"cache": 1_000_000})
        opened = open_files(config, self.folder, SystemClock())
        self._locks.append(opened.lock)
        return opened.images

    def close(self) -> None:
        """Release the folders of local copies."""
        for lock in self._locks:
            assert lock is not None, "each process has a folder"
            lock.close()

    def names(self) -> list[str]:
        top = f"{self.prefix}/pending/firmware"
        marks = [f"{name}.pending" for name in self.server.keys(top)]
        return sorted([*self.server.keys(f"{self.prefix}/firmware"), *marks])

    def age(self) -> None:
        age(self.server.bucket / self.prefix)


def age(folder: Path) -> None:
    """Make all files of a folder two hours older."""
    for path in folder.rglob("*"):
        then = path.stat().st_mtime - 7200
        os.utime(path, (then, then))


async def write(files: Files, identifier: int, *pieces: bytes) -> StoredFile:
    """Write a file of these pieces, and its row."""
    async with files.begin(identifier) as incoming:
        for piece in pieces:
            await incoming.write(piece)
        await incoming.keep()
        incoming.name()
    return StoredFile(identifier, sum(map(len, pieces)))


async def read(files: Files, stored: StoredFile, offset: int = 0, length: int = 1024) -> bytes:
    """Read a block, as soon as it is here."""
    try:
        return files.read(stored, offset, length)
    except BeingFetched as exc:
        await exc.fetch
        return files.read(stored, offset, length)
