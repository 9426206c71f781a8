"""The HTTP port for blobs, with small limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.listeners.blobs.bench import (
    FAST,
    SMALL,
    BlobBench,
    blob_bench,
)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobBench]:
    """Both ports with small limits and the default timeouts."""
    async with blob_bench(tmp_path, blobs=SMALL) as bench:
        yield bench


@pytest.fixture
async def impatient(tmp_path: Path) -> AsyncIterator[BlobBench]:
    """Both ports with very short timeouts."""
    async with blob_bench(tmp_path, blobs=FAST) as bench:
        yield bench
