"""Fixtures of files: a folder, and a prefix in a real object store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from span_events.registry.files.base import Files
from tests.bench.peers.versitygw import ObjectStoreServer, needs_versitygw
from tests.registry.files.places import BucketPlace, FolderPlace, Place


@pytest.fixture(scope="module")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreServer]:
    """An object store for the tests of a module, each with a prefix of its own."""
    with ObjectStoreServer(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest.fixture(params=["folder", pytest.param("bucket", marks=needs_versitygw)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """The places of files: a test runs once for each."""
    if request.param == "folder":
        yield FolderPlace(tmp_path)
        return
    bucket = BucketPlace(request.getfixturevalue("object_store"), tmp_path)
    yield bucket
    bucket.close()


@pytest.fixture
def bucket(object_store: ObjectStoreServer, tmp_path: Path) -> BucketPlace:
    """A new prefix."""
    return BucketPlace(object_store, tmp_path)


@pytest.fixture
async def files(place: Place) -> AsyncIterator[Files]:
    """New files, without rows."""
    opened = place.open()
    await opened.prepare(lambda _: False)
    yield opened
    await opened.close()
