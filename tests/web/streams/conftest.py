"""A server for tests of streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bench.servers import Running, running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server with a short history and few places."""
    settings = {"events": {"history_per_collection": 5}, "fanout": {"subscribers": 20}, "streams": {"max_tail": 50}}
    async with running(tmp_path, **settings) as opened:
        yield opened
