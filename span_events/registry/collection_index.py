"""Index of images, blobs and outputs: look-up by id, lists by collection, oldest first."""

from __future__ import annotations

from collections.abc import Iterator, KeysView
from typing import Generic, Protocol, TypeVar

from span_events.errors import NotFound
from span_events.ids import render
from span_events.registry.model import Image


class _Owned(Protocol):
    """Something that belongs to a collection."""

    @property
    def id(self) -> int: ...

    @property
    def collection_id(self) -> int: ...


T = TypeVar("T", bound=_Owned)


class CollectionIndex(Generic[T]):
    """
    Resources of one kind of all collections.

    Args:
        kind: Name of the kind in messages (``blob``).
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._by_id: dict[int, T] = {}
        self._of: dict[int, dict[int, T]] = {}
        self.get = self._by_id.get
        """Return the resource with an id, of any collection; None if unknown."""
        self.has = self._by_id.__contains__
        """Return whether there is a resource with an id, in any collection."""

    def __len__(self) -> int:
        return len(self._by_id)

    def ids(self) -> KeysView[int]:
        """Return all ids."""
        return self._by_id.keys()

    def of(self, collection_id: int) -> Iterator[T]:
        """Iterate over the resources of a collection, oldest first."""
        return iter(self._of.get(collection_id, {}).values())

    def count(self, collection_id: int) -> int:
        """Return the number of resources of a collection."""
        return len(self._of.get(collection_id, ()))

    def find(self, collection_id: int, identifier: int) -> T:
        """
        Return a resource of a collection.

        Raises:
            NotFound: This collection has no resource with this id.
        """
        try:
            return self._of[collection_id][identifier]
        except KeyError:
            raise NotFound(
                f"There is no {self._kind} {render(identifier)} in collection {render(collection_id)}",
                field=self._kind,
            ) from None

    def put(self, value: T) -> None:
        """Insert a resource, new or changed."""
        old = self._by_id.get(value.id)
        if old is not None and old.collection_id != value.collection_id:
            self.remove(old)
        self._by_id[value.id] = value
        self._of.setdefault(value.collection_id, {})[value.id] = value

    def remove(self, value: T) -> None:
        """Remove a resource."""
        del self._by_id[value.id]
        of_collection = self._of[value.collection_id]
        del of_collection[value.id]
        if not of_collection:
            del self._of[value.collection_id]


class ImageIndex(CollectionIndex[Image]):
    """Firmware images; in a collection, version and octets are unique."""

    def __init__(self) -> None:
        super().__init__("image")
        self._by_version: dict[tuple[int, str], Image] = {}
        self._by_sha256: dict[tuple[int, str], Image] = {}

    def with_version(self, collection_id: int, version: str) -> Image | None:
        """Find the image of a version, exactly as devices report it."""
        return self._by_version.get((collection_id, version))

    def with_sha256(self, collection_id: int, sha256: str) -> Image | None:
        """Find the image with these octets (SHA-256, hexadecimal)."""
        return self._by_sha256.get((collection_id, sha256))

    def put(self, value: Image) -> None:
        """Insert a resource, new or changed."""
        old = self.get(value.id)
        if old is not None:
            self.remove(old)
        super().put(value)
        self._by_version[value.collection_id, value.version] = value
        self._by_sha256[value.collection_id, value.sha256] = value

    def remove(self, value: Image) -> None:
        """Remove a resource."""
        super().remove(value)
        del self._by_version[value.collection_id, value.version]
        del self._by_sha256[value.collection_id, value.sha256]
