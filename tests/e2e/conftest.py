"""One server for all tests that do not stop it; each test has its own collection and device."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.live import LiveDevice, LiveServer


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run a server."""
    with LiveServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
async def device(server: LiveServer) -> LiveDevice:
    """Make a device in a new collection."""
    return await server.add_device(await server.add_collection())
