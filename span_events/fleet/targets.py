"""
Firmware targets: decides which image a device should run, and lists the devices that use an image.

Images belong to collections: the target and the current image are always of the same collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

from span_events.errors import InvalidRequest
from span_events.ids import render
from span_events.registry.collection_index import ImageIndex
from span_events.registry.model import Collection, Device, Image, Management


def target_id_of(device: Device) -> int:
    """
    Return the image that a device should run, by the management of its collection; 0 is none.

    The image may be disabled: a disabled image requires no update.
    """
    of_collection = device.collection.firmware
    match of_collection.management:
        case Management.COLLECTION:
            return of_collection.target_firmware_id
        case Management.DEVICE:
            return device.firmware.target_firmware_id or of_collection.target_firmware_id
        case Management.DISABLED | Management.UNSPECIFIED:
            return 0
        case _:
            assert_never(of_collection.management)


def check_image(images: ImageIndex, collection_id: int, image_id: int | None, *, field: str) -> None:
    """
    Refuse a reference to an image that the collection does not have; 0 and None are no image.

    Raises:
        InvalidRequest: The image does not exist, or belongs to another collection.
    """
    if not image_id:
        return
    found = images.get(image_id)
    if found is None or found.collection_id != collection_id:
        raise InvalidRequest(
            f"{field}: there is no image {render(image_id)} in collection {render(collection_id)}",
            hint="`span-events firmware list` shows the images of a collection.",
            field=field,
        )


def move(device: Device, to: Collection, images: ImageIndex) -> None:
    """Change the collection of a device: its target is cleared, its current image looked up by its version."""
    if device.collection is not to:
        device.move_to(to)
        device.firmware.target_firmware_id = 0
        device.firmware.current_firmware_id = current_id(device, images)


def current_id(device: Device, images: ImageIndex) -> int:
    """Return the image of the version that a device has reported; 0 is none."""
    version = device.firmware.firmware_version
    image = images.with_version(device.collection.id, version) if version else None
    return image.id if image else 0


@dataclass(frozen=True, slots=True)
class Usage:
    """Devices that use an image."""

    targeted: tuple[Device, ...]
    """Devices with this target, their own or that of their collection."""
    assigned: tuple[Device, ...]
    """Devices of `targeted` whose own target it is."""
    current: tuple[Device, ...]
    """Devices whose last report named its version."""


def usage(image: Image, devices: Iterable[Device]) -> Usage:
    """Return the devices of a collection that use an image of it."""
    targeted, assigned, current = [], [], []
    for each in devices:
        if each.firmware.target_firmware_id == image.id:
            assigned.append(each)
            targeted.append(each)
        elif target_id_of(each) == image.id:
            targeted.append(each)
        if each.firmware.current_firmware_id == image.id:
            current.append(each)
    return Usage(tuple(targeted), tuple(assigned), tuple(current))
