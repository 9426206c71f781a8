"""Facts about devices that events do not carry, for dialects that need them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from span_events.fleet.devices.inbox import Inbox
from span_events.registry.directory import Directory

_NONE: Final[Mapping[str, str]] = MappingProxyType({})


class DeviceFacts:
    """
    Names, tags and payloads, as they are now.

    Args:
        integration_events: See ``chirpstack.integration_events``.
    """

    def __init__(self, directory: Directory, inbox: Inbox, *, integration_events: bool) -> None:
        self.integration_events = integration_events
        self._directory = directory
        self._inbox = inbox

    def collection(self, identifier: int) -> str:
        """Return the name of a collection; empty for none."""
        found = self._directory.collections.get(identifier)
        return "" if found is None else found.tags.get("name", "")

    def device(self, identifier: int) -> str:
        """Return the name of a device; empty for none."""
        return self.tags(identifier).get("name", "")

    def tags(self, identifier: int) -> Mapping[str, str]:
        """Return the tags of a device."""
        found = self._directory.devices.get(identifier)
        return _NONE if found is None else found.tags

    def payload(self, collection_id: int, message_id: int) -> bytes:
        """Return the payload of an upstream message, as long as the inbox holds it."""
        found = self._inbox.find(collection_id, message_id)
        return b"" if found is None else found.payload
