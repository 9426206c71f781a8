"""What the registry and the inbox would know about the samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.dialects.things_stack.samples import COLLECTION, DEVICE


@dataclass(frozen=True)
class SampleFacts:
    """A named collection, and a named device that sent one payload."""

    own: tuple[tuple[str, str], ...] = (("name", "tide gauge 7"), ("span_event", "of its own"))
    integration_events: bool = False

    def collection(self, identifier: int) -> str:
        """Name the collection."""
        return "harbour sensors" if identifier == COLLECTION else ""

    def device(self, identifier: int) -> str:
        """Name the device."""
        return self.tags(identifier).get("name", "")

    def tags(self, identifier: int) -> Mapping[str, str]:
        """List the device's tags."""
        return dict(self.own) if identifier == DEVICE else {}

    def payload(self, collection_id: int, message_id: int) -> bytes:
        """Return the payload of every message of the collection."""
        return b"tvl=1.82m" if collection_id == COLLECTION and message_id else b""
