"""Nodes that share a registry in PostgreSQL, each with a fleet that follows the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from span_events.errors import StorageUnavailable
from span_events.registry.store import Store
from tests.bench.authorities import open_authority
from tests.bench.clock import ManualClock
from tests.bench.fleets import FleetBench


@asynccontextmanager
async def fleet_node(url: str, folder: Path, **settings: Any) -> AsyncIterator[FleetBench]:
    """Open the fleet of a node."""
    await asyncio.to_thread(folder.mkdir)
    store, clock = Store(url, shared=True), ManualClock()
    await store.open()
    number = await store.number.lease()
    authority = await open_authority(folder / "pki", clock)
    fleet = FleetBench(store, authority, clock, folder, node=number, **settings)
    await fleet.fill(await store.load())

    async def follow() -> None:
        while True:
            with suppress(StorageUnavailable):
                await fleet.registry.follow()
            await asyncio.sleep(0.01)

    following = asyncio.create_task(follow())
    try:
        yield fleet
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        with suppress(StorageUnavailable):
            await fleet.close()
        await store.close()
