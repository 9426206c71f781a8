"""A server of its own for each attack."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.live import LiveServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    """Run a server with the default settings."""
    with LiveServer(tmp_path) as server:
        yield server
