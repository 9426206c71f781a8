"""The index of images and blobs."""

from __future__ import annotations

import dataclasses

import pytest

from span_events.errors import NotFound
from span_events.registry.collection_index import CollectionIndex, ImageIndex
from span_events.registry.model import Blob, Image


def blob(identifier: int, collection_id: int) -> Blob:
    return Blob(identifier, collection_id, 7, 0, "text/plain", 1, 1)


def image(identifier: int, collection_id: int = 1, version: str = "1.0") -> Image:
    return Image(identifier, collection_id, version, "fw.bin", f"{version}-digest", 3, 1)


def test_resources_are_found_by_id_and_listed_by_collection() -> None:
    """Oldest first."""
    shelf: CollectionIndex[Blob] = CollectionIndex("blob")
    first, second, other = blob(1, 5), blob(2, 5), blob(3, 6)
    for each in (first, second, other):
        shelf.put(each)

    assert (shelf.get(3), shelf.get(4), shelf.find(5, 2)) == (other, None, second)
    assert [list(shelf.of(each)) for each in (5, 6, 7)] == [[first, second], [other], []]
    assert [shelf.count(each) for each in (5, 6, 7)] == [2, 1, 0]
    assert len(shelf) == 3


@pytest.mark.parametrize(("collection_id", "identifier"), [(6, 1), (5, 2), (7, 7)])
def test_a_resource_is_found_in_its_own_collection_only(collection_id: int, identifier: int) -> None:
    shelf: CollectionIndex[Blob] = CollectionIndex("blob")
    shelf.put(blob(1, 5))
    shelf.put(blob(3, 6))

    with pytest.raises(NotFound, match=f"There is no blob {identifier} in collection {collection_id}"):
        shelf.find(collection_id, identifier)


def test_a_removed_resource_is_not_found() -> None:
    shelf: CollectionIndex[Blob] = CollectionIndex("blob")
    shelf.put(blob(1, 5))
    shelf.remove(blob(1, 5))

    assert (shelf.get(1), shelf.count(5), list(shelf.of(5)), len(shelf)) == (None, 0, [], 0)


def test_an_image_is_found_by_its_version_and_octets() -> None:
    """In its collection; another one may have the same."""
    shelf = ImageIndex()
    here, there = image(1), image(2, collection_id=2)
    shelf.put(here)
    shelf.put(there)

    assert (shelf.with_version(1, "1.0"), shelf.with_version(2, "1.0"), shelf.with_version(1, "1")) == (
        here,
        there,
        None,
    )
    assert (shelf.with_sha256(2, "1.0-digest"), shelf.with_sha256(3, "1.0-digest")) == (there, None)


def test_an_image_that_changes_or_moves_is_found_as_it_is_now() -> None:
    """And not as it was."""
    shelf = ImageIndex()
    shelf.put(image(1))
    renamed = dataclasses.replace(image(1), version="2.0")
    shelf.put(renamed)
    moved = dataclasses.replace(renamed, collection_id=9)
    found = [shelf.with_version(1, "1.0"), shelf.with_version(1, "2.0")]
    shelf.put(moved)

    assert found == [None, renamed]
    assert shelf.with_version(1, "2.0") is None
    assert (shelf.with_version(9, "2.0"), shelf.get(1), len(shelf), shelf.count(1)) == (moved, moved, 1, 0)
