"""What happens to collections: created, changed, removed. Each call writes the registry first."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from span_events.clock import Clock
from span_events.errors import Conflict
from span_events.ids import IdGenerator, render
from span_events.registry.directory import Directory
from span_events.registry.model import Collection, Management
from span_events.registry.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionChange:
    """What a call asks for; None leaves a thing as it is."""

    team_id: int | None = None
    tags: Mapping[str, str] | None = None
    """Merged into the tags that are there."""
    enabled: bool | None = None
    management: Management | None = None
    current_firmware_id: int | None = None
    """0 is no image; likewise below."""
    target_firmware_id: int | None = None

    def apply_to(self, collection: Collection) -> None:
        """Change a collection."""
        collection.tags.update(self.tags or {})
        if self.team_id is not None:
            collection.team_id = self.team_id
        if self.enabled is not None:
            collection.enabled = self.enabled
        if self.management is not None:
            collection.firmware.management = self.management
        if self.current_firmware_id is not None:
            collection.firmware.current_firmware_id = self.current_firmware_id
        if self.target_firmware_id is not None:
            collection.firmware.target_firmware_id = self.target_firmware_id


class Collections:
    """
    The fleet's collections.

    Args:
        lock: Held while the registry's collections and devices change; shared with `Devices`, so
            that no device joins a collection that is being removed.
    """

    def __init__(
        self,
        *,
        store: Store,
        directory: Directory,
        lock: asyncio.Lock,
        clock: Clock,
        identifiers: IdGenerator,
    ) -> None:
        self._store = store
        self._directory = directory
        self._lock = lock
        self._clock = clock
        self._identifiers = identifiers

    async def create(self, change: CollectionChange) -> Collection:
        """Make a collection."""
        collection = Collection(self._identifiers.next(self._clock.time_ns()))
        change.apply_to(collection)
        async with self._lock:
            await self._store.put_collection(collection)
            self._directory.add_collection(collection)
        return collection

    async def update(self, collection: Collection, change: CollectionChange) -> Collection:
        """
        Change a collection.

        Raises:
            NotFound: The collection is gone.
        """
        async with self._lock:
            self._directory.collection(collection.id)
            draft = dataclasses.replace(
                collection, tags=dict(collection.tags), firmware=dataclasses.replace(collection.firmware)
            )
            change.apply_to(draft)
            await self._store.put_collection(draft)
            change.apply_to(collection)
        return collection

    async def remove(self, collection: Collection) -> None:
        """
        Forget a collection.

        Raises:
            Conflict: It still has devices, or gateways of its own.
            NotFound: The collection is gone already.
        """
        async with self._lock:
            self._directory.collection(collection.id)
            for count, what in (
                (self._directory.device_count(collection.id), "device"),
                (self._directory.gateway_count(collection.id), "gateway"),
            ):
                if count:
                    raise Conflict(
                        f"Collection {render(collection.id)} still has {count} {what if count == 1 else f'{what}s'}",
                        hint=f"Delete its {what}s first, or move them to another collection.",
                    )
            await self._store.delete_collection(collection.id)
            self._directory.remove_collection(collection)
