"""
Firmware images: upload, change, move, remove.

An image's file exists before its row in the registry, and until the row is deleted. An image that is a target
can neither move nor be removed: its devices need another target first.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import FirmwareConfig
from span_events.errors import Conflict, InvalidRequest, LimitReached, StorageUnavailable, TooLarge
from span_events.fleet.targets import Usage, current_id, usage
from span_events.ids import render
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.files.base import Files, Incoming
from span_events.registry.model import Collection, Device, Image
from span_events.registry.registry import Registry

log = get_logger("firmware")

_NAMED: Final = 5
"""Devices that a refusal names; the others are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageChange:
    """A requested change; None keeps the present value."""

    collection_id: int | None = None
    """Another collection than the image's moves it."""
    version: str | None = None
    tags: Mapping[str, str] | None = None
    """Merged into the tags that are there."""
    enabled: bool | None = None

    def apply_to(self, image: Image) -> Image:
        """Return the image as it will be."""
        return dataclasses.replace(
            image,
            collection_id=image.collection_id if self.collection_id is None else self.collection_id,
            version=image.version if self.version is None else self.version,
            tags={**image.tags, **(self.tags or {})},
            enabled=image.enabled if self.enabled is None else self.enabled,
        )


class Upload:
    """Octets of an image during its upload."""

    def __init__(self, image_id: int, incoming: Incoming, limit: int) -> None:
        self.image_id = image_id
        self.incoming = incoming
        self._limit = limit
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the octets so far, hexadecimal."""
        return self._digest.hexdigest()

    async def write(self, octets: bytes) -> None:
        """
        Append octets; hashing and writing happen in threads.

        Raises:
            TooLarge: The image is over ``firmware.max_image``.
        """
        if self.incoming.size + len(octets) > self._limit:
            raise TooLarge(f"image: is over {self._limit} octets (firmware.max_image)", field="image")
        await asyncio.to_thread(self._digest.update, octets)
        await self.incoming.write(octets)


class Images:
    """
    The firmware images of all collections.

    Args:
        files: Files of the images.
    """

    def __init__(
        self,
        config: FirmwareConfig,
        *,
        files: Files,
        bus: Bus,
        registry: Registry,
        clock: Clock,
    ) -> None:
        self._config = config
        self._files = files
        self._bus = bus
        self._registry = registry
        self._directory = registry.directory
        self._clock = clock
        self._uploads = 0
        self.on_changed: list[Callable[[Image, int], None]] = []
        """Called with the cause after an image was created, changed or removed, as targets may differ."""

    @asynccontextmanager
    async def upload(self, collection: Collection) -> AsyncIterator[Upload]:
        """
        Take the octets of a new image; they are forgotten unless `create` has returned.

        Raises:
            LimitReached: The collection has too many images, or too many are being uploaded.
        """
        self._check_room(collection.id)
        if self._uploads >= self._config.uploads:
            raise LimitReached(
                f"{self._uploads} images are being uploaded already, at most {self._config.uploads} (firmware.uploads)",
                hint="Try again in a moment.",
            )
        self._uploads += 1
        try:
            image_id = self._bus.new_id()
            async with self._files.begin(image_id) as incoming:
                yield Upload(image_id, incoming, self._config.max_image)
        finally:
            self._uploads -= 1

    async def create(
        self,
        collection: Collection,
        upload: Upload,
        *,
        version: str,
        filename: str = "",
        tags: Mapping[str, str] | None = None,
        cause: int,
    ) -> Image:
        """
        Create an image from an upload.

        Raises:
            InvalidRequest: The upload is empty.
            Conflict: The collection has an image with this version, or with these octets.
            LimitReached: The collection has too many images.
            NotFound: The collection was removed.
        """
        if not upload.incoming.size:
            raise InvalidRequest("image: is empty", field="image")
        image = Image(
            upload.image_id,
            collection.id,
            version,
            filename,
            upload.sha256,
            upload.incoming.size,
            self._clock.time_ns() // 1_000_000,
            dict(tags or {}),
        )
        self._check(image)  # before the disk is waited for
        await upload.incoming.keep()
        try:
            async with self._registry.lock:
                self._directory.collection(collection.id)
                self._check_room(collection.id)
                self._check(image)
                await self._registry.store.put_image(image)
                upload.incoming.name()
                self._directory.images.put(image)
                await self._match_versions(collection.id, [version])
        except Exception:
            if self._directory.images.get(image.id) is None:
                await self._files.delete(image.id)
            raise
        self._tell(image, cause)
        return image

    async def update(self, image: Image, change: ImageChange, *, cause: int) -> Image:
        """
        Change an image, or move it to another collection; return the new value.

        Raises:
            Conflict: Its collection has another image with the new version; or it cannot move, since it is a target
                or since the other collection has its version or octets.
            LimitReached: The other collection has too many images.
            NotFound: The image or the other collection was removed.
        """
        async with self._registry.lock:
            image = self._directory.images.find(image.collection_id, image.id)
            changed = change.apply_to(image)
            if changed.collection_id != image.collection_id:
                self._directory.collection(changed.collection_id)
                self._check_room(changed.collection_id)
                self._check_unused(image)
            self._check(changed)
            await self._registry.store.put_image(changed)
            self._directory.images.put(changed)
            for collection_id in {image.collection_id, changed.collection_id}:
                await self._match_versions(collection_id, [image.version, changed.version])
        self._tell(changed, cause)
        return changed

    async def remove(self, image: Image, *, cause: int) -> None:
        """
        Remove an image and its file.

        Raises:
            Conflict: The image is the target of its collection or of devices.
            NotFound: The image was removed already.
        """
        self._check_removable(image)
        async with self._files.deleting(image.id), self._registry.lock:  # the lock waits for no object store
            image = self._check_removable(image)
            await self._registry.store.delete_image(image.id)
            self._directory.images.remove(image)
            await self._match_versions(image.collection_id, [image.version])
        try:
            await self._files.delete(image.id)
        except StorageUnavailable as exc:
            log.error("image_file_left", image=render(image.id), detail=str(exc))
        self._tell(image, cause)

    def usage(self, image: Image) -> Usage:
        """Return the devices with an image as target, and those that run it."""
        return usage(image, self._directory.devices_of(image.collection_id))

    def metrics(self) -> list[Metric]:
        """List what is counted."""
        return [
            Metric(
                "firmware_images",
                "Firmware images; at most firmware.images_per_collection each.",
                "gauge",
                lambda: len(self._directory.images),
            ),
            Metric(
                "firmware_uploads",
                "Images that are being uploaded; at most firmware.uploads.",
                "gauge",
                lambda: self._uploads,
            ),
        ]

    def _check(self, image: Image) -> None:
        """Make sure that no other image of the collection has this version or these octets."""
        images, where = self._directory.images, f"collection {render(image.collection_id)}"
        same = images.with_version(image.collection_id, image.version)
        if same is not None and same.id != image.id:
            raise Conflict(
                f"version: {where} has version {image.version} already, as image {render(same.id)}",
                hint="A device names its version in its report, so each stands for one image: count it up.",
                field="version",
            )
        same = images.with_sha256(image.collection_id, image.sha256)
        if same is not None and same.id != image.id:
            raise Conflict(
                f"image: {where} has these octets already, as image {render(same.id)} (version {same.version})",
                hint="Use that image, or build one that differs.",
                field="image",
            )

    def _check_room(self, collection_id: int) -> None:
        count, most = self._directory.images.count(collection_id), self._config.images_per_collection
        if count >= most:
            raise LimitReached(
                f"Collection {render(collection_id)} has {count} images, at most {most}"
                " (firmware.images_per_collection)",
                hint="Delete images that nobody needs.",
            )

    def _check_removable(self, image: Image) -> Image:
        image = self._directory.images.find(image.collection_id, image.id)
        self._check_unused(image)
        return image

    def _check_unused(self, image: Image) -> None:
        users = []
        if self._directory.collection(image.collection_id).firmware.target_firmware_id == image.id:
            users.append(f"collection {render(image.collection_id)}")
        assigned = self.usage(image).assigned
        if assigned:
            users.append(_named(assigned))
        if users:
            raise Conflict(
                f"Image {render(image.id)} (version {image.version}) is the target of {' and of '.join(users)}",
                hint="Give them another target first; an image that is disabled is not used meanwhile.",
            )

    async def _match_versions(self, collection_id: int, versions: Sequence[str]) -> None:
        """Update the current image of the devices that run these versions."""
        images, collection = self._directory.images, self._directory.collection(collection_id)
        changed = []
        for device in self._directory.devices_of(collection_id):
            if device.firmware.firmware_version in versions:
                current = current_id(device, images)
                if current != device.firmware.current_firmware_id:
                    device.firmware.current_firmware_id = current
                    changed.append(device)
        image = images.get(collection.firmware.current_firmware_id)
        is_gone = image is None or image.collection_id != collection_id
        try:
            await self._registry.store.put_devices(changed)
            if collection.firmware.current_firmware_id and is_gone:
                collection.firmware.current_firmware_id = 0
                await self._registry.store.put_collection(collection)
        except StorageUnavailable as exc:  # the change is done; each report of a device updates its version
            log.error("current_images_not_written", collection=render(collection_id), detail=str(exc))

    def _tell(self, image: Image, cause: int) -> None:
        for tell in self.on_changed:
            tell(image, cause)


def _named(devices: Sequence[Device]) -> str:
    """Return the number of devices as text, with the first ids."""
    ids = ", ".join(render(each.id) for each in devices[:_NAMED])
    if len(devices) == 1:
        return f"device {ids}"
    more = f" and {len(devices) - _NAMED} more" if len(devices) > _NAMED else ""
    return f"{len(devices)} devices ({ids}{more})"
