"""
Progress of a fleet's update: a snapshot from the API, kept current by events.

This module neither waits nor prints. A snapshot holds the whole state, events hold changes; events that arrived while
a snapshot was under way are applied again after it, as the snapshot may be older.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from span_events.events.reasons import FirmwareState
from span_events.fleet.firmware.rules import ERRORS

Document = Mapping[str, Any]

EVENTS: Final = ("/^firmware/", "deviceCreated", "deviceUpdated", "deviceRemoved", "deviceMoved", "eventsDropped")
"""Filter of the stream."""

_OF_TARGETS: Final = ("firmwareUpdateRequired", "firmwareStateChange")
"""Events after which a device may have a target that had none."""
_NONE: Final = ("", "0")


class Outcome(StrEnum):
    """Outcome of a device's update so far."""

    UNDER_WAY = "under way"
    CURRENT = "current"
    FAILED = "failed"


@dataclass(slots=True)
class Update:
    """One device that should run an image."""

    device: str
    name: str
    """Its tag ``name``; empty if it has none."""
    version: str
    """Version that the device reported last; empty before its first report."""
    current: str
    """Image that it runs, by its report."""
    target: str
    """Image that it should run."""
    wanted: str
    """Version of that."""
    state: str
    message: str
    fetched: int | None = None
    """Downloaded part of the image in percent; None while unknown."""

    @property
    def percent(self) -> int | None:
        """Part of the image on the device in percent; None while unknown."""
        return 100 if self.state == FirmwareState.UPDATING or self.outcome is Outcome.CURRENT else self.fetched

    @property
    def outcome(self) -> Outcome:
        """Return the outcome."""
        if self.state in ERRORS:
            return Outcome.FAILED
        return Outcome.CURRENT if self.current == self.target else Outcome.UNDER_WAY


@dataclass(slots=True)
class Progress:
    """
    The updates of a collection.

    Args:
        only: Devices that are looked at; empty is all.
    """

    only: frozenset[str] = frozenset()
    updates: dict[str, Update] = field(default_factory=dict)
    """By device, in the order of the API; those without a target are left out."""
    stale: bool = True
    """True after a change that only a new snapshot can show."""
    taken: bool = False
    """True after the first snapshot."""
    _heard: list[Document] | None = None
    """Events since the request for a snapshot that has not arrived yet."""

    def begin(self) -> None:
        """A snapshot is going to be asked for."""
        self.stale = False
        self._heard = []

    def take(self, collection: Document, devices: Iterable[Document], images: Iterable[Document]) -> None:
        """Take over a snapshot."""
        versions = {str(each["imageId"]): str(each["version"]) for each in images if each.get("enabled", True)}
        before, self.updates = self.updates, {}
        for each in devices:
            target = _target(collection.get("firmware") or {}, each.get("firmware") or {})
            device = str(each["deviceId"])
            if target not in versions or (self.only and device not in self.only):
                continue
            update = _update(each, target, versions[target])
            old = before.get(device)
            if update.fetched is None and old is not None and (old.target, old.state) == (target, update.state):
                update.fetched = old.fetched
            self.updates[device] = update
        self.taken = True
        heard, self._heard = self._heard, None
        for document in heard or ():
            self.hear(document)

    def hear(self, document: Document) -> None:
        """Take over an event."""
        if self._heard is not None:
            self._heard.append(document)
        event, data = str(document.get("event")), document.get("data") or {}
        update = self.updates.get(str(document.get("deviceId")))
        if update is None:
            self.stale |= event in _OF_TARGETS or not event.startswith("firmware")
        else:
            _change(update, event, data)
            self.stale |= _other_target(update, event, data)

    def counts(self) -> Counter[Outcome]:
        """Count the updates by their outcome."""
        return Counter(each.outcome for each in self.updates.values())


def _target(collection: Document, device: Document) -> str:
    """Return the image that a device should run; empty if it is none."""
    own, of_collection = (str(each.get("targetFirmwareId") or "") for each in (device, collection))
    match collection.get("management"):
        case "collection":
            return of_collection
        case "device":
            return of_collection if own in _NONE else own
        case _:
            return ""


def _update(device: Document, target: str, wanted: str) -> Update:
    firmware = device.get("firmware") or {}
    return Update(
        device=str(device["deviceId"]),
        name=str((device.get("tags") or {}).get("name") or ""),
        version=str(firmware.get("firmwareVersion") or ""),
        current=str(firmware.get("currentFirmwareId") or ""),
        target=target,
        wanted=wanted,
        state=str(firmware.get("state") or ""),
        message=str(firmware.get("stateMessage") or ""),
        fetched=_fetched(firmware, str(firmware.get("state") or ""), None),
    )


def _change(update: Update, event: str, data: Document) -> None:
    match event:
        case "firmwareCheck":
            update.version = str(data.get("version", ""))
        case "firmwareCurrent":
            update.version, update.current = str(data.get("version", "")), str(data.get("imageId", ""))
        case "firmwareUpdateRequired":
            update.version, update.current = str(data.get("currentVersion", "")), ""
        case "firmwareStateChange":
            update.state, update.message = str(data.get("state", "")), str(data.get("message", ""))
            update.fetched = _fetched(data, update.state, update.fetched)


def _other_target(update: Update, event: str, data: Document) -> bool:
    """Return whether an event has another target than the snapshot: the target was changed."""
    match event:
        case "firmwareUpdateRequired":
            return data.get("targetImageId") != update.target
        case "firmwareStateChange":
            return data.get("targetVersion") != update.wanted
        case "firmwareCurrent":
            return data.get("imageId") != update.target
        case _:
            return not event.startswith("firmware")


def _fetched(source: Document, state: str, before: int | None) -> int | None:
    """Read how much was fetched out of the data of an event, or of a snapshot."""
    if state == FirmwareState.PENDING:
        return 0  # the earlier part counts again when the download resumes
    text = str(source.get("percent", ""))
    return min(int(text), 100) if text.isascii() and text.isdigit() else before
