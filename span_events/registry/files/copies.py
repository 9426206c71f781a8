"""Local copies of objects: a bounded cache on disk, whose least recently read files are deleted."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from span_events import ids
from span_events.errors import InvalidRequest, StorageUnavailable
from span_events.log import get_logger
from span_events.registry import location
from span_events.registry.files.base import StoredFile
from span_events.registry.files.folder import Folder, FolderIncoming

log = get_logger("files")


class Copies:
    """
    Bounded local copies of images or of blobs.

    Args:
        limit: Upper bound of all copies, octets; files that are being fetched or uploaded do not count.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._path = folder
        self._folder = Folder(folder)
        self._limit = limit
        self._sizes: OrderedDict[int, int] = OrderedDict()
        """Octets by id, the least recently read first."""
        self._octets = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def octets(self) -> int:
        """Octets of all copies."""
        return self._octets

    async def prepare(self) -> None:
        """Take over the copies of an earlier process, and delete its unfinished ones."""

        def work() -> list[tuple[float, int, int]]:
            location.prepare(self._path)
            found = []
            for path in list(self._path.iterdir()):
                try:
                    status = path.stat()
                    found.append((status.st_mtime, ids.parse(path.name), status.st_size))
                except InvalidRequest:
                    path.unlink()
            return sorted(found)

        try:
            for _, identifier, size in await asyncio.to_thread(work):
                self.put(identifier, size)
        except OSError as exc:
            raise StorageUnavailable(f"{self._path}: cannot be searched: {exc.strerror}") from exc

    def begin(self, identifier: int) -> FolderIncoming:
        """Begin a file, which is no copy until `put`."""
        return self._folder.begin(identifier)

    async def make_room(self, size: int) -> None:
        """
        Delete the least recently read copies until a file fits in beside the others.

        Raises:
            StorageUnavailable: The file is larger than all copies may be.
        """
        if size > self._limit:
            raise StorageUnavailable(
                f"a file of {size} octets has no room among local copies: files.cache is {self._limit}"
            )
        while self._octets + size > self._limit:
            await self.delete(next(iter(self._sizes)))

    def put(self, identifier: int, size: int) -> None:
        """Count a finished file as a copy, the most recently read one."""
        self._octets += size - self._sizes.pop(identifier, 0)
        self._sizes[identifier] = size

    def has(self, wanted: StoredFile) -> bool:
        """Return whether there is a copy."""
        return wanted.id in self._sizes

    def read(self, wanted: StoredFile, offset: int, length: int) -> bytes:
        """Read a block in place; the copy becomes the most recently read one."""
        self._sizes.move_to_end(wanted.id)
        return self._folder.read(wanted, offset, length)

    async def whole(self, wanted: StoredFile) -> Path:
        """Return where a copy is, after a check of its size; it becomes the most recently read one."""
        self._sizes.move_to_end(wanted.id)
        return await self._folder.whole(wanted)

    async def delete(self, identifier: int) -> None:
        """Delete a copy, and what an upload left of its file."""
        self._octets -= self._sizes.pop(identifier, 0)
        try:
            await self._folder.delete(identifier)
        except StorageUnavailable as exc:
            log.error("copy_left", detail=str(exc), hint="The next start counts it again.")

    async def delete_others(self, is_needed: Callable[[int], bool]) -> None:
        """Delete the copies whose rows are gone: another node may have removed them."""
        for identifier in [each for each in self._sizes if not is_needed(each)]:
            await self.delete(identifier)

    async def close(self) -> None:
        """Close all files open for reading."""
        await self._folder.close()
