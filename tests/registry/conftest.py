"""Fixtures of the registry's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.registry.rows import url


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name an empty database of each kind."""
    if request.param == "sqlite":
        return url(tmp_path)
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return await server.new_schema()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """An empty store."""
    opened = Store(database_url)
    await opened.open()
    yield opened
    await opened.close()
