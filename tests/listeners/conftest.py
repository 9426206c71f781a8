"""Fixtures of the listeners' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.listeners.coap_bench import CoapBench, coap_bench


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """A CoAP listener with default settings."""
    async with coap_bench(tmp_path) as bench:
        yield bench
