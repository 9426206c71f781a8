"""
Rules of firmware updates: the target of a device, and the consequences of its reports, as tables without clock or bus.

The state of a device's firmware is always about one image, the target (``state_image_id``); another target
starts over. After `UPDATE_FAILED` and `REVERTED` the update is held back, so that a device does not download the
same image for ever: until the error is cleared (``DELETE …/fwerror``), or it gets another target.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from span_events.events.reasons import FirmwareState
from span_events.fleet.targets import target_id_of
from span_events.ids import render
from span_events.registry.collection_index import ImageIndex
from span_events.registry.model import Device, FirmwareMetadata, Image, Management

_STATES: Final = {each.value: each for each in FirmwareState}
ERRORS: Final = frozenset({FirmwareState.UPDATE_FAILED, FirmwareState.TIMED_OUT, FirmwareState.REVERTED})
"""States that ``DELETE …/fwerror`` clears."""
UNDER_WAY: Final = frozenset({FirmwareState.DOWNLOADING, FirmwareState.UPDATING})
"""States that end by themselves, in time."""
HELD_BACK: Final = frozenset({FirmwareState.UPDATE_FAILED, FirmwareState.REVERTED})
"""States in which the update is held back."""
MODEL_TAG: Final = "modelNumber"
"""Tag of an image that names its model, as a report spells it."""
SETTLED: Final = frozenset({FirmwareState.CURRENT, FirmwareState.UPDATE_FAILED, FirmwareState.REVERTED})
"""States in which nothing is left to download: until something is cleared or another target is set."""


def state_of(firmware: FirmwareMetadata) -> FirmwareState:
    """Return the state as an enum member; the registry stores its word."""
    return _STATES[firmware.state]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Target of a device; without an image, the reason for its absence."""

    image: Image | None
    why_not: str = ""
    other_model: Image | None = None
    """The target image, if it is for another model than the device reports."""


def wanted(device: Device, images: ImageIndex) -> Wanted:
    """Decide by the management of the device's collection, its own target and its collection's (Span's rule)."""
    image_id = target_id_of(device)
    if not image_id:
        managed = device.collection.firmware.management in (Management.COLLECTION, Management.DEVICE)
        return Wanted(None, "no target image is set" if managed else "the collection's firmware management is off")
    image = images.get(image_id)
    if image is None or image.collection_id != device.collection.id:
        return Wanted(None, f"the target image {render(image_id)} is gone")
    if not image.enabled:
        return Wanted(None, f"the target image {render(image_id)} (version {image.version}) is disabled")
    for tag, reported in _model_of(device.firmware):
        if reported and image.tags.get(tag, reported) != reported:
            wrong = f"another model: {tag} {image.tags[tag]}, the device reports {reported}"
            return Wanted(None, f"the target image {render(image_id)} ({image.version}) is for {wrong}", image)
    return Wanted(image)


def _model_of(firmware: FirmwareMetadata) -> tuple[tuple[str, str], ...]:
    """Return what a device reports about itself, by the tag of an image that must equal it."""
    return ("manufacturer", firmware.manufacturer), (MODEL_TAG, firmware.model_number)


class Finding(Enum):
    """Comparison of a device's version with its target."""

    NOTHING = auto()
    """The device has no target."""
    SAME = auto()
    OTHER = auto()


def compare(image: Image | None, version: str) -> Finding:
    """Compare octet for octet: there is no order of versions."""
    if image is None:
        return Finding.NOTHING
    return Finding.SAME if image.version == version else Finding.OTHER


@dataclass(frozen=True, slots=True)
class Move:
    """Consequence of a report."""

    state: FirmwareState
    message: str
    """For people; a format with ``version`` (reported now), ``before``, ``target``, ``block``, ``percent``, ``why``."""
    offer: bool = False
    """True if the response announces an update."""
    repeat: bool = False
    """True to publish even in the same state, as the event names a cause."""


HELD_BACK_TEXT: Final = "{target} is held back until the error is cleared (DELETE …/fwerror) or another target is set"
REPORTED: Final = {
    Finding.NOTHING: dict.fromkeys(FirmwareState, Move(FirmwareState.CURRENT, "runs {version}; {why}")),
    Finding.SAME: dict.fromkeys(FirmwareState, Move(FirmwareState.CURRENT, "runs {version}, as it should")),
    Finding.OTHER: {
        FirmwareState.INITIALIZING: Move(FirmwareState.PENDING, "runs {version}, should run {target}", offer=True),
        FirmwareState.PENDING: Move(FirmwareState.PENDING, "runs {version}, should run {target}", offer=True),
        FirmwareState.DOWNLOADING: Move(
            FirmwareState.PENDING,
            "reported again instead of asking for more of {target} after block {block} ({percent} %)",
            offer=True,
        ),
        FirmwareState.UPDATING: Move(
            FirmwareState.UPDATE_FAILED, "downloaded {target} to the end, and reports {version} (before: {before})"
        ),
        FirmwareState.CURRENT: Move(FirmwareState.REVERTED, "ran {target}, and now reports {version}"),
        FirmwareState.UPDATE_FAILED: Move(FirmwareState.UPDATE_FAILED, HELD_BACK_TEXT, repeat=True),
        FirmwareState.TIMED_OUT: Move(
            FirmwareState.PENDING,
            "is back after its download of {target} stopped at block {block} ({percent} %)",
            offer=True,
        ),
        FirmwareState.REVERTED: Move(FirmwareState.REVERTED, HELD_BACK_TEXT, repeat=True),
    },
}
"""Consequences of a report, by its finding and by `standing`."""


def standing(firmware: FirmwareMetadata, image: Image | None) -> FirmwareState:
    """Return the state of a device relative to its target, before a report counts."""
    state = state_of(firmware)
    if image is None:
        return state
    if firmware.state_image_id != image.id:
        return FirmwareState.PENDING
    if state is FirmwareState.TIMED_OUT and is_complete(firmware, image):
        return FirmwareState.UPDATING  # the missed report arrives after all
    return state


def retargeted(state: FirmwareState, finding: Finding, *, same_image: bool) -> FirmwareState:
    """
    Return the consequence of the API's change of a target or image.

    Args:
        finding: Comparison of the last report with the new target.
        same_image: True if the state belongs to the present target image.
    """
    match finding:
        case Finding.NOTHING:
            return FirmwareState.CURRENT
        case Finding.SAME:
            return state if same_image and state in UNDER_WAY else FirmwareState.CURRENT
        case Finding.OTHER:
            # The same image and Current: the image has another version text now.
            return state if same_image and state is not FirmwareState.CURRENT else FirmwareState.PENDING


def is_complete(firmware: FirmwareMetadata, image: Image) -> bool:
    """Return whether a device was served an image to its end."""
    return firmware.download_image_id == image.id and firmware.download_end >= image.length


def percent(firmware: FirmwareMetadata, image: Image) -> int:
    """Return the progress of a download in percent; 100 is its end."""
    return 100 * firmware.download_end // image.length if firmware.download_image_id == image.id else 0
