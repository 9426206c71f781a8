"""The registry: writes each change to the store, then to the directory that readers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager

from span_events.registry.contents import Contents
from span_events.registry.directory import Directory
from span_events.registry.model import Device, Gateway
from span_events.registry.shared.follower import Follower, Replica
from span_events.registry.shared.lock import SharedLock
from span_events.registry.shared.questions import Questions
from span_events.registry.store import Store

Guard = Callable[[], None]
"""A check of the caller's own, which a change runs while it holds the lock; it raises what forbids the change."""


def unguarded() -> None:
    """Allow every change: the default guard."""


def _nothing() -> None:
    """Do nothing."""


class Registry:
    """
    Store, directory, and the lock of their changes.

    A change of collections, devices, gateways, images, blobs, outputs or certificates holds `lock` from its checks to
    its end. It checks the directory, writes the store, then changes the directory: so a failed write changes nothing,
    and no device joins a collection during its removal. Readers use the directory without the lock.

    If several nodes share the store, `lock` is held across all of them, see `share`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.directory = Directory()
        self.lock: AbstractAsyncContextManager[None] = asyncio.Lock()
        self.is_current = True
        """Whether the directory shows the changes of other nodes; False while they cannot be followed."""
        self.questions = Questions()
        """Questions about senders that this node does not know."""
        self._follower: Follower | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other nodes change the registry, too."""
        return self._follower is not None

    def share(self, replica: Replica) -> None:
        """Share the registry with other nodes, whose changes are shown by ``replica``."""
        local = asyncio.Lock()
        self._follower = Follower(self.store, self.directory, replica, local, self.questions)
        self.lock = SharedLock(self.store, self._follower.catch_up, local)

    @property
    def leads(self) -> bool:
        """Return whether this node does what must be done once: it is the only one, or the leader."""
        return not self.store.is_shared or self.store.leader.leads

    async def follow(self, ready: Callable[[], None] = _nothing) -> None:
        """
        Follow the changes of other nodes until the database cannot be reached.

        Args:
            ready: Called when the directory shows all changes up to now.

        Raises:
            StorageUnavailable: The connection was lost.
        """
        assert self._follower is not None, "the registry is shared"

        def caught_up() -> None:
            self.is_current = True
            ready()

        try:
            await self._follower.run(caught_up)
        finally:
            self.is_current = False

    async def look(self) -> None:
        """
        Show the changes of other nodes up to now: for a caller that finds nothing where another node may have made it.

        Raises:
            StorageUnavailable: The database cannot be read.
        """
        if self._follower is not None:
            await self._follower.look()

    async def put_activity(self, devices: Iterable[Device]) -> None:
        """Write devices that their messages have changed, except those removed meanwhile."""
        if self.store.is_shared:
            await self.store.put_activity([each for each in devices if each.id in self.directory.devices])
        else:
            async with self.lock:
                await self.store.put_devices([each for each in devices if each.id in self.directory.devices])

    async def put_reported(self, gateways: Iterable[Gateway], begun: Mapping[int, int]) -> None:
        """
        Write gateways that have reported metadata, except those removed meanwhile.

        Args:
            begun: Sessions that began, by gateway, for other nodes.
        """
        if self.store.is_shared:
            present = [each for each in gateways if each.id in self.directory.gateways]
            await self.store.put_reported(present, begun)
        else:
            async with self.lock:
                await self.store.put_gateways([each for each in gateways if each.id in self.directory.gateways])

    def fill(self, contents: Contents) -> None:
        """Fill the directory with the contents of the store, once, before the listeners start."""
        self.directory.fill(
            collections=contents.collections,
            devices=contents.devices,
            certificates=contents.certificates,
            gateways=contents.gateways,
            images=contents.images,
            blobs=contents.blobs,
            outputs=contents.outputs,
        )
