"""Names of collections and devices on extended streams."""

from __future__ import annotations

from span_events.registry.directory import Directory


class DirectoryNames:
    """Finds names in the directory: the tag ``name`` as it is now."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def collection(self, identifier: int) -> str:
        """Return the name of a collection; empty for none."""
        found = self._directory.collections.get(identifier)
        return "" if found is None else found.tags.get("name", "")

    def device(self, identifier: int) -> str:
        """Return the name of a device; empty for none."""
        found = self._directory.devices.get(identifier)
        return "" if found is None else found.tags.get("name", "")
