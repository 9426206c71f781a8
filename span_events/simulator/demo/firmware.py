"""The firmware of ``serve --demo``: at each start a version that its trackers do not have yet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from span_events.errors import Conflict
from span_events.fleet.collections import CollectionChange, Collections
from span_events.fleet.devices.devices import DeviceChange, Devices
from span_events.fleet.firmware.images import Images
from span_events.registry.directory import Directory
from span_events.registry.model import Collection, Device, Image, Management
from span_events.simulator.demo.demo import MARK
from span_events.simulator.firmware.device import make_image
from span_events.simulator.firmware.updates import IMAGE_OCTETS, next_version


class DemoFirmware:
    """
    Firmware of the demo: an image and the target of its devices.

    Args:
        cause: Correlation id of the events of its changes.
    """

    def __init__(
        self, images: Images, *, collections: Collections, devices: Devices, directory: Directory, cause: int
    ) -> None:
        self._images = images
        self._collections = collections
        self._devices = devices
        self._directory = directory
        self._cause = cause

    async def seed(self, collection: Collection, devices: Sequence[Device]) -> None:
        """
        Give the devices a new target, unless a user changed theirs.

        A user's change is another management of the collection, or a target that the demo did not create.
        """
        earlier = self._ours(collection)
        if not earlier and collection.firmware.management is Management.DISABLED:
            change = CollectionChange(management=Management.DEVICE)
            await self._collections.update(collection, change, cause=self._cause)
        if collection.firmware.management is not Management.DEVICE:
            return
        allowed = {0, *(each.id for each in earlier)}
        devices = [each for each in devices if each.firmware.target_firmware_id in allowed]
        image = await self._find_or_make(collection, devices)
        for device in devices:
            if device.firmware.target_firmware_id != image.id:
                await self._devices.update(device, DeviceChange(target_firmware_id=image.id), cause=self._cause)
        for each in earlier:
            if each.id != image.id:
                with suppress(Conflict):  # it is a target
                    await self._images.remove(each, cause=self._cause)

    def _ours(self, collection: Collection) -> list[Image]:
        return [each for each in self._directory.images.of(collection.id) if MARK.items() <= each.tags.items()]

    async def _find_or_make(self, collection: Collection, devices: Sequence[Device]) -> Image:
        """Reuse an image of an earlier start that no device runs, or create one."""
        versions = {each.firmware.firmware_version for each in devices}
        for each in self._ours(collection):
            if next_version(versions) == each.version:
                return each
        versions |= {each.version for each in self._directory.images.of(collection.id)}
        version = next_version(versions)
        async with self._images.upload(collection) as upload:
            await upload.write(make_image(version, IMAGE_OCTETS))
            return await self._images.create(
                collection, upload, version=version, filename=f"tracker-{version}.bin", tags=MARK, cause=self._cause
            )
