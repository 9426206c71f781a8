"""Topics of ChirpStack's events: ``application/ID/device/EUI/event/TYPE``, perhaps with a prefix before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_LEVELS: Final = 6


@dataclass(frozen=True, slots=True)
class Topic:
    """The device and the type of an event, as its topic names them."""

    dev_eui: str
    kind: str


def topic_of(text: str) -> Topic | None:
    """Read a topic; None if it is none of an event."""
    levels = text.split("/")[-_LEVELS:]
    if len(levels) < _LEVELS or levels[0::2] != ["application", "device", "event"]:
        return None
    return Topic(levels[3], levels[5])
