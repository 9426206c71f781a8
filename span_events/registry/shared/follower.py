"""Follows the changes of other nodes in a shared registry, and shows them in the directory."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

from span_events.errors import DatabaseUnavailable
from span_events.log import get_logger
from span_events.registry.contents import Contents
from span_events.registry.directory import Directory
from span_events.registry.model import Attachment, Downstream, Reservation
from span_events.registry.shared import journal, notices
from span_events.registry.shared.questions import Questions
from span_events.registry.store import Store

log = get_logger("registry")

_LOOK: Final = 2.0
"""Seconds without a notification after which the journal is read nevertheless: a lost connection may seem open."""
_BATCH: Final = 500
"""Rows of activity that are read at once."""

_READ_AGAIN: Final = (
    "More changes were missed than the registry keeps, or PostgreSQL lost its last ones: after a failover to a standby"
    " that was behind, or from a backup. This node now shows what PostgreSQL has."
)

_ACTIVITY: Final = ("devices", "gateways", "downstream", "gateway_sessions", "warnings")
_CELLULAR: Final = ("attachments", "reservations")
"""Kinds of notices."""

Removed = dict[str, set[int]]
"""Ids of the rows that are gone, by table."""

Stale = defaultdict[str, set[Any]]
"""Primary keys of the rows that other nodes wrote and this node has not read yet, by the kind of their notices."""


class Replica(Protocol):
    """Shows the changes of other nodes, and has the parts of this node react."""

    def show(self, contents: Contents, removed: Removed) -> None:
        """Show rows, also unchanged ones, and remove others; the parts that hold connections react."""

    def show_activity(self, contents: Contents) -> None:
        """Show the activity of devices and gateways, if it is newer."""

    def show_messages(self, found: list[Downstream], ids: AbstractSet[int]) -> None:
        """Show downstream messages; those of ``ids`` that were not found are deleted."""

    def show_cellular(
        self,
        attachments: list[Attachment],
        reservations: list[Reservation],
        ids: AbstractSet[int],
        addresses: AbstractSet[str],
    ) -> None:
        """Show attachments and reservations; those of ``ids`` and ``addresses`` that were not found have ended."""

    def end_older(self, begun: AbstractSet[str]) -> None:
        """End the sessions of gateways that began a newer one at another node."""

    def warned(self, serials: AbstractSet[str]) -> None:
        """Note the certificates of which another node has warned."""

    @property
    def cellular_lock(self) -> asyncio.Lock:
        """Held from a look at the rows until they are shown: rows from before a write of this node would undo it."""

    def cellular_keys(self) -> tuple[set[int], set[str]]:
        """Return the ids of the attachments, and the addresses of the reservations, that this node shows."""

    def message_ids(self) -> set[int]:
        """Return the ids of the downstream messages that this node shows."""


class Follower:
    """
    The changes of other nodes, as this node sees them.

    Args:
        lock: Keeps changes out of the checks of this node.
        questions: Answered while this node follows the others.
    """

    def __init__(
        self, store: Store, directory: Directory, replica: Replica, lock: asyncio.Lock, questions: Questions
    ) -> None:
        self._store = store
        self._directory = directory
        self._replica = replica
        self._lock = lock
        self._questions = questions
        self._stale: Stale = defaultdict(set)
        self._showing = asyncio.Lock()  # held from a look at the notices until their attachments are shown
        self._woken = asyncio.Event()
        self._echo: asyncio.Future[None] | None = None
        self._is_lost = False
        self._next_look: asyncio.Task[None] | None = None

    async def catch_up(self) -> None:
        """
        Show the changes up to now; the caller holds the lock.

        Raises:
            StorageUnavailable: The database cannot be read.
        """
        found = await self._store.changes(self._directory.collections)
        if found is None:
            return
        version, contents, removed = found
        if removed is None:
            log.warning("registry_read_again", hint=_READ_AGAIN)
            removed = self._gone(contents)
        self._replica.show(contents, removed)
        self._store.seen(version)

    async def look(self) -> None:
        """
        Show the changes up to now. Callers that wait for one look share the next.

        Raises:
            StorageUnavailable: The database cannot be read.
        """
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look())
        await asyncio.shield(self._next_look)

    async def _look(self) -> None:
        async with self._lock:
            self._next_look = None  # later callers may ask for a change that this look does not see
            await self.catch_up()

    async def run(self, ready: Callable[[], None]) -> None:
        """
        Follow until the connection is lost.

        Args:
            ready: Called when all changes up to now are shown.

        Raises:
            StorageUnavailable: The database cannot be read; the next call shows what was missed.
        """
        self._is_lost = False
        handlers = {
            journal.CHANNEL: self._changed,
            notices.CHANNEL: self._noticed,
            self._echo_channel: self._echoed,
        }
        async with self._store.listening(handlers, self._lost):
            async with self._lock:
                await self.catch_up()
            self._stale["devices"].update(self._directory.devices)
            self._stale["gateways"].update(self._directory.gateways)
            async with self._replica.cellular_lock:
                ids, addresses = self._replica.cellular_keys()
                found = await self._store.cellular(None, None, self._directory.devices)
                self._replica.show_cellular(*found, ids, addresses)
            shown = self._replica.message_ids()  # before the look: a newer one may be missing in it
            self._replica.show_messages(await self._store.downstream(), shown)
            async with self._answering():
                while not self._is_lost:
                    self._woken.clear()
                    stale = self._take(*_ACTIVITY)  # first: their devices are shown before them
                    await self._show_changes()
                    await self._read_activity(stale)
                    ready()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK):
                            await self._woken.wait()
        raise DatabaseUnavailable("The registry's connection for the changes of other nodes was lost")

    def _lost(self) -> None:
        self._is_lost = True
        self._woken.set()

    def _changed(self, _payload: str) -> None:
        self._woken.set()

    def _noticed(self, payload: str) -> None:
        node, kind, keys = notices.read(payload)
        if node != self._store.node:
            self._stale[kind].update(keys)
            self._woken.set()

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Answer questions for as long as the block lasts."""
        task = asyncio.create_task(self._questions.run(self._answer))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _answer(self) -> None:
        """Show all changes that were committed before, also those whose notices are on their way."""
        self._echo = asyncio.get_running_loop().create_future()
        await self._store.notify(self._echo_channel)
        await self._echo  # PostgreSQL delivers notifications in the order of their commits
        await self._show_changes()

    @property
    def _echo_channel(self) -> str:
        return f"span_echo_{self._store.node}"

    def _echoed(self, _payload: str) -> None:
        if self._echo is not None and not self._echo.done():
            self._echo.set_result(None)

    def _take(self, *kinds: str) -> Stale:
        """Remove and return the keys of stale rows of some kinds."""
        taken: Stale = defaultdict(set)
        for kind in kinds:
            taken[kind] = self._stale.pop(kind, set())
        return taken

    async def _show_changes(self) -> None:
        """Show changes of the configuration, then attachments and reservations: sessions of devices depend on both."""
        async with self._showing:
            stale = self._take(*_CELLULAR)
            try:
                async with self._lock:
                    await self.catch_up()
                await self._read_cellular(stale)
            except BaseException:
                for kind, keys in stale.items():
                    self._stale[kind] |= keys
                raise

    async def _read_cellular(self, stale: Stale) -> None:
        ids, addresses = stale["attachments"], stale["reservations"]
        if ids or addresses:
            async with self._replica.cellular_lock:
                found = await self._store.cellular(ids, addresses, self._directory.devices)
                self._replica.show_cellular(*found, ids, addresses)

    async def _read_activity(self, stale: Stale) -> None:
        self._replica.end_older(stale["gateway_sessions"])
        self._replica.warned(stale["warnings"])
        for kind, known in (("devices", self._directory.devices), ("gateways", self._directory.gateways)):
            keys = sorted(stale[kind] & known.keys())
            for start in range(0, len(keys), _BATCH):
                wanted = {kind: set(keys[start : start + _BATCH])}
                self._replica.show_activity(await self._store.read(wanted, self._directory.collections))
        ids = stale["downstream"]
        if ids:
            contents = await self._store.read({"downstream": ids}, self._directory.collections)
            self._replica.show_messages(contents.downstream, ids)

    def _gone(self, contents: Contents) -> Removed:
        """Return the ids that the directory has and the registry has not."""
        directory = self._directory
        present = {
            "collections": directory.collections.keys(),
            "devices": directory.devices.keys(),
            "gateways": directory.gateways.keys(),
            "certificates": directory.certificates.keys(),
            "firmware_images": directory.images.ids(),
            "blobs": directory.blobs.ids(),
            "outputs": directory.outputs.ids(),
        }
        return {kind: ids - contents.ids(kind) for kind, ids in present.items()}
