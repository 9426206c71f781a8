"""
Files in a folder.

Work on more than a block runs in a thread, as a slow disk must not block the event loop; one block is read and
written in place, from the page cache.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from span_events import ids
from span_events.errors import InvalidRequest, StorageUnavailable
from span_events.log import get_logger
from span_events.registry import location
from span_events.registry.files.base import Discarded, HasRow, StoredFile

log = get_logger("files")

_OPEN: Final = 64
"""Files that stay open for reading, so that the next block of a download costs one system call."""
_MODE: Final = 0o600
_UNFINISHED: Final = ".part"
PENDING: Final = ".pending"
"""Ending of a whole file whose row is not written yet, or is being deleted."""
UNDER_WAY: Final = 3_600.0
"""Seconds for which a pending file may belong to an upload of another node; no upload takes as long."""


class Folder:
    """
    The files of one kind, in one folder.

    Args:
        shared: Whether other nodes write into it, too.
    """

    def __init__(self, folder: Path, *, shared: bool = False) -> None:
        self._folder = folder
        self._shared = shared
        self._readers: OrderedDict[int, int] = OrderedDict()
        self.fault = ""
        """Reason why the folder cannot be used now."""

    async def prepare(self, has_row: HasRow) -> None:
        """
        Create the folder, and delete the unfinished files of an earlier process, and its pending ones without a row.

        Files without a row stay otherwise, and are named in the log: perhaps they belong to another registry.
        """
        await asyncio.to_thread(location.prepare, self._folder)
        unknown = set()
        with self._translated("searched"):
            for path in list(self._folder.iterdir()):
                if self._shared and time.time() - path.stat().st_mtime < UNDER_WAY:
                    continue
                if path.name.endswith(_UNFINISHED):
                    path.unlink()
                elif path.name.endswith(PENDING):
                    self._settle(path, has_row)
                elif not _is_of_row(path.name, has_row):
                    unknown.add(path.name)
        if unknown:
            log.warning(
                "files_unknown",
                folder=str(self._folder),
                count=len(unknown),
                one=min(unknown),
                hint="No row of this registry names them. Unless they belong to another registry, delete them.",
            )

    def _settle(self, path: Path, has_row: HasRow) -> None:
        """Give a pending file its name if the registry has its row; delete it otherwise."""
        whole = path.with_name(path.name.removesuffix(PENDING))
        if _is_of_row(whole.name, has_row):
            path.rename(whole)
            return
        log.warning("file_without_row_removed", path=str(whole), octets=path.stat().st_size)
        path.unlink()

    async def check(self, *, is_current: bool) -> None:  # pending files are settled by `prepare`
        """Look whether the folder can be written."""
        try:
            await asyncio.to_thread(location.probe, self._folder)
        except StorageUnavailable as exc:
            self.fault = str(exc)
        else:
            self.fault = ""

    async def close(self) -> None:
        """Close all files open for reading."""
        while self._readers:
            os.close(self._readers.popitem()[1])

    def path(self, identifier: int) -> Path:
        """Return where the file of an id is."""
        return self._folder / ids.render(identifier)

    async def whole(self, wanted: StoredFile) -> Path:
        """Return where a file is; its size is checked."""
        path = self.path(wanted.id)
        with self._translated("read", wanted.id):
            found = path.stat().st_size
        if found != wanted.size:
            raise StorageUnavailable(f"{path}: has {found} octets, wanted {wanted.size}")
        return path

    def begin(self, identifier: int) -> FolderIncoming:
        """Begin a new file."""
        return FolderIncoming(self.path(identifier))

    def read(self, wanted: StoredFile, offset: int, length: int) -> bytes:
        """Read a block in place; refuse a block that shows another size of the file."""
        identifier = wanted.id
        with self._translated("read", identifier):
            reader = self._readers.get(identifier)
            if reader is None:
                reader = os.open(self.path(identifier), os.O_RDONLY | os.O_CLOEXEC)
                self._readers[identifier] = reader
                if len(self._readers) > _OPEN:
                    os.close(self._readers.popitem(last=False)[1])
            else:
                self._readers.move_to_end(identifier)
            block = os.pread(reader, length, offset)
        if len(block) != min(length, max(wanted.size - offset, 0)):
            raise StorageUnavailable(f"{self.path(identifier)}: does not have {wanted.size} octets")
        return block

    def prefetch(self, wanted: StoredFile) -> None:
        """Do nothing: the file is here."""

    async def delete(self, identifier: int) -> None:
        """Delete the file of an id, pending or not, if it exists."""
        reader = self._readers.pop(identifier, None)

        def work() -> None:
            if reader is not None:
                os.close(reader)
            self.path(identifier).unlink(missing_ok=True)
            _pending(self.path(identifier)).unlink(missing_ok=True)

        with self._translated("deleted", identifier):
            await asyncio.to_thread(work)

    @asynccontextmanager
    async def deleting(self, identifier: int) -> AsyncIterator[None]:
        """Hold the file of an id pending while its row is deleted; after a failure it has its name again."""
        path = self.path(identifier)
        with suppress(OSError):  # a file that is not there is no reason to keep the row
            path.rename(_pending(path))
        try:
            yield
        except BaseException:
            with suppress(OSError):
                _pending(path).rename(path)
            raise

    @contextmanager
    def _translated(self, what: str, identifier: int | None = None) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            path = self._folder if identifier is None else self.path(identifier)
            raise StorageUnavailable(f"{path}: cannot be {what}: {exc.strerror}") from exc


def _pending(path: Path) -> Path:
    return path.with_name(path.name + PENDING)


def _is_of_row(name: str, has_row: HasRow) -> bool:
    """Return whether a file's name is the id of a row."""
    try:
        return has_row(ids.parse(name))
    except InvalidRequest:
        return False


class FolderIncoming(Discarded):
    """A file that is being written into a folder; see `Incoming`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.with_name(path.name + _UNFINISHED)
        self._kept = False
        self._lock = threading.Lock()
        """A thread whose caller was cancelled still writes; the next call waits for it."""
        self.size = 0
        """Octets so far."""
        with self._translated():
            self._file: int | None = os.open(self._at, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)

    def append(self, block: bytes) -> None:
        """Append a block in place; a few KiB, for the event loop waits for it."""
        with self._translated(), self._lock:
            self._write(block)

    async def write(self, octets: bytes) -> None:
        """Append octets in a thread."""

        def work() -> None:
            with self._lock:
                self._write(octets)

        with self._translated():
            await asyncio.to_thread(work)

    async def keep(self) -> None:
        """Bring the file to the disk; it is pending from now on."""

        def work() -> None:
            with self._lock:
                assert self._file is not None, "the file is closed"
                os.fsync(self._file)
                self._close()
                os.replace(self._at, _pending(self._path))
                self._at = _pending(self._path)
                folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)  # or a power cut could take the name away
                finally:
                    os.close(folder)

        with self._translated():
            await asyncio.to_thread(work)
        self._kept = True

    def name(self) -> None:
        """Give a kept file its name, in place: its row is written."""
        try:
            os.replace(self._at, self._path)
        except OSError as exc:
            log.error("file_without_name", path=str(self._path), error=exc.strerror, hint="The next start names it.")

    async def discard(self) -> None:
        """Delete the file, unless it was kept; discarding again does nothing."""
        if self._kept:
            return

        def work() -> None:
            with self._lock, suppress(OSError):  # the next start deletes the rest
                self._close()
                self._at.unlink(missing_ok=True)

        await asyncio.shield(asyncio.to_thread(work))  # otherwise a cancelled upload could leave its file

    def _write(self, octets: bytes) -> None:
        assert self._file is not None, "the file is closed"
        rest = memoryview(octets)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(octets)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @property
    def path(self) -> Path:
        """The place of the octets now."""
        return self._at

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise StorageUnavailable(f"{self._path}: cannot be written: {exc.strerror}") from exc
