"""Collections: creates, changes and removes them. Each call writes the registry first."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from span_events.bus.base import Bus
from span_events.errors import Conflict
from span_events.fleet.targets import check_image
from span_events.ids import render
from span_events.registry.model import Collection, Management
from span_events.registry.registry import Guard, Registry, unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectionChange:
    """Requested change of a collection; None keeps a value."""

    team_id: int | None = None
    tags: Mapping[str, str] | None = None
    """Merged into the present tags."""
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
    """The fleet's collections."""

    def __init__(
        self,
        *,
        bus: Bus,
        registry: Registry,
    ) -> None:
        self._registry = registry
        self._directory = registry.directory
        self._bus = bus
        self.on_updated: list[Callable[[Collection, CollectionChange, int], None]] = []
        """Called, with the cause, after each `update`."""

    async def create(self, change: CollectionChange) -> Collection:
        """
        Create a collection.

        Raises:
            InvalidRequest: The change names an image, and a new collection has none.
        """
        collection = Collection(self._bus.new_id())
        self._check_images(change, collection)
        change.apply_to(collection)
        async with self._registry.lock:
            await self._registry.store.put_collection(collection)
            self._directory.add_collection(collection)
        return collection

    async def update(
        self, collection: Collection, change: CollectionChange, *, cause: int, guard: Guard = unguarded
    ) -> Collection:
        """
        Change a collection.

        Args:
            guard: Raises what forbids the change; called while no other change can begin.

        Raises:
            InvalidRequest: The change names an image of no or another collection.
            NotFound: The collection was removed.
        """
        async with self._registry.lock:
            self._directory.collection(collection.id)
            guard()
            self._check_images(change, collection)
            draft = dataclasses.replace(
                collection, tags=dict(collection.tags), firmware=dataclasses.replace(collection.firmware)
            )
            change.apply_to(draft)
            await self._registry.store.put_collection(draft)
            change.apply_to(collection)
        for notify in self.on_updated:
            notify(collection, change, cause)
        return collection

    async def remove(self, collection: Collection) -> None:
        """
        Remove a collection.

        Raises:
            Conflict: The collection still has devices, gateways of its own, firmware images, blobs or outputs.
            NotFound: The collection was removed already.
        """
        async with self._registry.lock:
            self._directory.collection(collection.id)
            self._check_empty(collection.id)
            await self._registry.store.delete_collection(collection.id)
            self._directory.remove_collection(collection)

    def _check_images(self, change: CollectionChange, collection: Collection) -> None:
        for image_id, field in (
            (change.target_firmware_id, "firmware.targetFirmwareId"),
            (change.current_firmware_id, "firmware.currentFirmwareId"),
        ):
            check_image(self._directory.images, collection.id, image_id, field=field)

    def _check_empty(self, collection_id: int) -> None:
        directory = self._directory
        for what, count, movable in (
            ("device", directory.device_count(collection_id), True),
            ("gateway", directory.gateway_count(collection_id), True),
            ("firmware image", directory.images.count(collection_id), False),
            ("blob", directory.blobs.count(collection_id), False),
            ("output", directory.outputs.count(collection_id), False),
        ):
            if count:
                raise Conflict(
                    f"Collection {render(collection_id)} still has {count} {what if count == 1 else f'{what}s'}",
                    hint=f"Delete its {what}s first{', or move them to another collection' if movable else ''}.",
                )
