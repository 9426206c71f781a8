"""Fixtures of the registry's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.registry.store import Store
from tests.registry.rows import url


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store."""
    opened = Store(url(tmp_path))
    await opened.open()
    yield opened
    await opened.close()
