"""
The protocol of files: octets of firmware images and blobs, which are too large for the database; each named by its id.

A file exists whole or not at all, before its row and until after it. Meanwhile it is *pending*, and the pending mark
survives a crash: the row then decides whether the file stays.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from span_events.errors import StorageUnavailable

HasRow = Callable[[int], bool]
"""Tells whether the registry has the row of an id."""


class StoredFile(NamedTuple):
    """A file as its row describes it."""

    id: int
    size: int
    """Octets."""
    sha256: str = ""
    """Hexadecimal; empty if the row has none."""


class BeingFetched(StorageUnavailable):
    """
    A file is on its way from the object store.

    Args:
        fetch: Ends with the fetch, and fails with it.
    """

    def __init__(self, fetch: asyncio.Future[None]) -> None:
        super().__init__("the file is on its way from the object store")
        self.fetch = fetch


class Incoming(Protocol):
    """
    A file that is being written.

    As a context manager it is discarded at the end, unless `keep` has returned; after that, `name` or `Files.delete`
    follows. Cancelling any method leaves it usable for `discard` alone.
    """

    @property
    def size(self) -> int:
        """Octets so far."""

    def append(self, block: bytes) -> None:
        """Append a block in place; a few KiB, for the event loop waits for it."""

    async def write(self, octets: bytes) -> None:
        """Append octets in a thread."""

    async def keep(self) -> None:
        """Store the file durably; it is pending from now on."""

    def name(self) -> None:
        """Give a kept file its name, in place: its row is written."""

    async def discard(self) -> None:
        """Delete the file, unless it was kept; discarding again does nothing."""

    async def __aenter__(self) -> Self:
        """Return itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard the file unless it was kept."""


class Discarded(ABC):
    """A file that is discarded at the end of a block, unless it was kept."""

    @abstractmethod
    async def discard(self) -> None:
        """Delete the file, unless it was kept."""

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Discard the file unless it was kept."""
        await self.discard()


class Files(Protocol):
    """
    The files of one kind.

    Methods raise `StorageUnavailable` when disk or object store refuse.
    """

    @property
    def fault(self) -> str:
        """Reason why the files cannot be used now; empty if they can."""

    async def prepare(self, has_row: HasRow) -> None:
        """Make ready at the start of a server, and settle the pending files of an earlier process."""

    async def check(self, *, is_current: bool) -> None:
        """
        Look whether the files can be used, and settle pending files; called every other second.

        Args:
            is_current: Whether the rows that other nodes wrote are known; without them, nothing is deleted.
        """

    def begin(self, identifier: int) -> Incoming:
        """Begin a new file."""

    def read(self, wanted: StoredFile, offset: int, length: int) -> bytes:
        """
        Read a block in place.

        Args:
            offset: Start of the block, octets.
            length: Octets of the block at most; a few KiB, as the event loop waits.

        Returns:
            The octets: fewer at the end of the file, none after it.

        Raises:
            BeingFetched: The file is not on this machine yet.
        """

    def prefetch(self, wanted: StoredFile) -> None:
        """Begin to fetch a file that will be read soon, unless it is on this machine; never raises."""

    async def whole(self, wanted: StoredFile) -> Path:
        """Return a file on this machine with all octets, for a reader that opens it at once."""

    async def delete(self, identifier: int) -> None:
        """Delete the file of an id, pending or not, if it exists."""

    def deleting(self, identifier: int) -> AbstractAsyncContextManager[None]:
        """Hold the file of an id pending while its row is deleted; after a failure it is as before."""

    async def close(self) -> None:
        """End fetches, and close all files open for reading."""
