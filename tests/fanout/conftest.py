"""A hub with small limits."""

from __future__ import annotations

import pytest

from tests.fanout.bench import Bench


@pytest.fixture
async def bench() -> Bench:
    """A hub with small limits."""
    return Bench(subscriber_buffer=1000, total_buffer=10_000, slice=2, max_write=2000, max_linger_ms=0)
