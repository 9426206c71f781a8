"""One nats-server for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.bench.peers.nats import NatsServer, jetstream, nats_server


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="nats")
async def run_nats(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """A server that admits all clients and keeps nothing."""
    async with nats_server(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="archive")
async def run_archive(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """A server with JetStream, in memory."""
    folder = tmp_path_factory.mktemp("nats")
    async with nats_server(folder, jetstream(folder)) as server:
        yield server
