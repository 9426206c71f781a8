"""
Files in an object store, with local copies.

Order of an upload: the octets are collected in a local file; a *mark* (an empty object below ``pending/``) and the
object are stored; the row is written; the mark goes. Order of a deletion: mark, row, object, mark. So a mark that is
older than any upload names an object whose row decides over it, whichever node died in between. Objects without mark
and row are left alone: a registry that was restored from a backup must not delete objects of newer rows.

A device's block is read from the local copy. Without one, the whole object is fetched once for all readers, and its
SHA-256 is compared with the row's.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from span_events import ids
from span_events.bounded.expiring import ExpiringMap
from span_events.clock import Clock
from span_events.errors import InvalidRequest, StorageUnavailable
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.files.base import BeingFetched, Discarded, HasRow, StoredFile
from span_events.registry.files.copies import Copies
from span_events.registry.files.folder import UNDER_WAY, FolderIncoming
from span_events.registry.files.objects import ObjectStore

log = get_logger("files")

_FETCHES: Final = 100
"""Objects that are fetched, or wait for a transfer, at most."""
_AGAIN: Final = 2.0
"""Seconds after a failed fetch until the next one of the same object."""
_LOOK: Final = 10.0
"""Seconds between checks of a store that answers."""


class BucketFiles:
    """
    The files of one kind in an object store.

    Args:
        kind: Part of their keys, and of the names of their metrics: ``firmware`` or ``blobs``.
    """

    def __init__(self, kind: str, store: ObjectStore, copies: Copies, clock: Clock) -> None:
        self._kind = kind
        self._store = store
        self._copies = copies
        self._clock = clock
        self._has_row: HasRow = lambda _: True
        self._fetches: dict[int, asyncio.Task[None]] = {}
        self._failed: ExpiringMap[int, str] = ExpiringMap(limit=_FETCHES, lifetime=_AGAIN)
        self._named: set[int] = set()
        """Ids whose rows are written, and whose marks can go."""
        self._checked_at = -_LOOK
        self.fetched = 0
        """Objects that were fetched."""

    @property
    def fault(self) -> str:
        """Reason why the object store cannot be used now; empty if it can."""
        return self._store.fault

    async def prepare(self, has_row: HasRow) -> None:
        """Take over the local copies; the object store is looked at by `check`, which may find it away."""
        self._has_row = has_row
        await self._copies.prepare()

    async def check(self, *, is_current: bool) -> None:
        """Look whether the object store answers, and settle marks and copies; it does not raise."""
        now = self._clock.monotonic()
        if not self.fault and not self._named and now - self._checked_at < _LOOK:
            return
        self._checked_at = now
        with suppress(StorageUnavailable):  # in the log, and in `fault`
            for found in await self._store.listed(f"pending/{self._kind}"):
                await self._settle(found.key.rpartition("/")[2], found.modified, is_current=is_current)
        if is_current:
            await self._copies.delete_others(self._has_row)

    async def _settle(self, name: str, marked: datetime, *, is_current: bool) -> None:
        """Remove a mark that is not needed any more, and an object whose row was never written or is deleted."""
        try:
            identifier = ids.parse(name)
        except InvalidRequest:
            return
        if identifier not in self._named:
            if not is_current or (datetime.now(UTC) - marked).total_seconds() < UNDER_WAY:
                return
            if not self._has_row(identifier):
                log.warning("file_without_row_removed", key=self._key(identifier))
                await self._store.delete(self._key(identifier))
        await self._store.delete(self._mark(identifier))
        self._named.discard(identifier)

    def begin(self, identifier: int) -> BucketIncoming:
        """Begin a new file; refused at once while the object store is away."""
        if self.fault:
            raise StorageUnavailable(self.fault)
        return BucketIncoming(self, identifier, self._copies.begin(identifier))

    def read(self, wanted: StoredFile, offset: int, length: int) -> bytes:
        """Read a block of the local copy in place, or begin to fetch the object."""
        if self._copies.has(wanted):
            with suppress(StorageUnavailable):  # a damaged copy is replaced
                return self._copies.read(wanted, offset, length)
        raise BeingFetched(self._fetch(wanted))

    def prefetch(self, wanted: StoredFile) -> None:
        """Fetch an object that a device will ask for soon."""
        if not self._copies.has(wanted):
            with suppress(StorageUnavailable):
                self._fetch(wanted)

    async def whole(self, wanted: StoredFile) -> Path:
        """Return the local copy; without one, wait for the object."""
        if self._copies.has(wanted):
            with suppress(StorageUnavailable):
                return await self._copies.whole(wanted)
        await asyncio.shield(self._fetch(wanted))
        return await self._copies.whole(wanted)

    async def delete(self, identifier: int) -> None:
        """Delete an object, its copy and its mark."""
        await self._copies.delete(identifier)
        await self._store.delete(self._key(identifier))
        await self._store.delete(self._mark(identifier))
        self._named.discard(identifier)

    @asynccontextmanager
    async def deleting(self, identifier: int) -> AsyncIterator[None]:
        """Mark an object while its row is deleted; after a failure the mark goes."""
        await self._store.put(self._mark(identifier), b"")
        try:
            yield
        except BaseException:
            self._named.add(identifier)
            raise

    async def close(self) -> None:
        """End fetches, and close all files open for reading."""
        for fetch in self._fetches.values():
            fetch.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)
        await self._copies.close()

    def metrics(self) -> Sequence[Metric]:
        """List the metrics."""
        kind, copies = self._kind, self._copies
        return (
            Metric(f"{kind}_copies", "Local copies of objects.", "gauge", lambda: len(copies)),
            Metric(f"{kind}_copy_bytes", "Their bytes; at most files.cache.", "gauge", lambda: copies.octets),
            Metric(f"{kind}_fetches", "Objects that were fetched.", "counter", lambda: self.fetched),
            Metric(f"{kind}_fetching", "Objects that are being fetched.", "gauge", lambda: len(self._fetches)),
        )

    # ---- uploads, for `BucketIncoming` ---------------------------------------------------------

    async def store(self, identifier: int, content: Path, size: int) -> None:
        """Mark an object as pending, store it, and make room for its local copy."""
        await self._store.put(self._mark(identifier), b"")
        await self._store.put(self._key(identifier), content)
        await self._copies.make_room(size)

    def named(self, identifier: int, size: int) -> None:
        """Note that a row is written: its local file is a copy now, and its mark can go."""
        self._copies.put(identifier, size)
        self._named.add(identifier)

    async def forget(self, identifier: int) -> None:
        """Delete the local file of an upload that failed."""
        await self._copies.delete(identifier)

    # ---- parts ----------------------------------------------------------------------------------

    def _fetch(self, wanted: StoredFile) -> asyncio.Task[None]:
        """
        Return the fetch of an object, one for all readers; begin it if there is none.

        Raises:
            StorageUnavailable: The store is away, the last fetch failed a moment ago, or too many are under way.
        """
        task = self._fetches.get(wanted.id)
        if task is not None:
            return task
        failed = self._failed.get(wanted.id, self._clock.monotonic())
        if self.fault or failed:
            raise StorageUnavailable(self.fault or failed or "")
        if len(self._fetches) >= _FETCHES:
            raise StorageUnavailable(f"{len(self._fetches)} files are being fetched already")
        task = asyncio.get_running_loop().create_task(self._fetched(wanted))
        self._fetches[wanted.id] = task
        task.add_done_callback(lambda _: self._ended(wanted.id, task))
        return task

    def _ended(self, identifier: int, fetch: asyncio.Task[None]) -> None:
        del self._fetches[identifier]
        if not fetch.cancelled():
            fetch.exception()  # each waiting reader gets it; a prefetch has none

    async def _fetched(self, wanted: StoredFile) -> None:
        try:
            await self._copies.delete(wanted.id)
            await self._copies.make_room(wanted.size)
            async with self._copies.begin(wanted.id) as incoming:
                digest = hashlib.sha256()

                async def take(octets: bytes) -> None:
                    if incoming.size + len(octets) > wanted.size:
                        raise StorageUnavailable(f"{self._key(wanted.id)}: has more than {wanted.size} octets")
                    await asyncio.to_thread(digest.update, octets)
                    await incoming.write(octets)

                await self._store.get(self._key(wanted.id), take)
                if incoming.size != wanted.size:
                    raise StorageUnavailable(
                        f"{self._key(wanted.id)}: has {incoming.size} octets, wanted {wanted.size}"
                    )
                if wanted.sha256 and digest.hexdigest() != wanted.sha256:
                    raise StorageUnavailable(f"{self._key(wanted.id)}: its SHA-256 is not {wanted.sha256}")
                await incoming.keep()
                incoming.name()
        except StorageUnavailable as exc:
            log.error("file_not_fetched", detail=str(exc))
            self._failed.put(wanted.id, str(exc), self._clock.monotonic())
            raise
        self._copies.put(wanted.id, wanted.size)
        self.fetched += 1

    def _key(self, identifier: int) -> str:
        return f"{self._kind}/{ids.render(identifier)}"

    def _mark(self, identifier: int) -> str:
        return f"pending/{self._kind}/{ids.render(identifier)}"


class BucketIncoming(Discarded):
    """A file that is collected on this machine, and stored as an object when it is whole; see `Incoming`."""

    def __init__(self, files: BucketFiles, identifier: int, local: FolderIncoming) -> None:
        self._files = files
        self._identifier = identifier
        self._local = local
        self._kept = False

    @property
    def size(self) -> int:
        """Octets so far."""
        return self._local.size

    def append(self, block: bytes) -> None:
        """Append a block in place."""
        self._local.append(block)

    async def write(self, octets: bytes) -> None:
        """Append octets in a thread."""
        await self._local.write(octets)

    async def keep(self) -> None:
        """Store the object; it is pending from now on."""
        await self._local.keep()
        await self._files.store(self._identifier, self._local.path, self._local.size)
        self._kept = True

    def name(self) -> None:
        """Let the local file serve as the cached copy of the object."""
        self._local.name()
        self._files.named(self._identifier, self._local.size)

    async def discard(self) -> None:
        """Delete the local file, unless the object was stored; a mark may stay behind, and is settled later."""
        if not self._kept:
            await self._local.discard()
            await self._files.forget(self._identifier)
