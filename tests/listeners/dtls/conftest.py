"""The stage of the DTLS tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.listeners.dtls.bench import DtlsBench, dtls_bench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    """Start the listeners with default settings."""
    async with dtls_bench(tmp_path) as opened:
        yield opened
