"""Transactions of two nodes on the same rows: one waits for the other, never both."""

from __future__ import annotations

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import PATIENCE
from tests.registry.rows import collection, device

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE usename = current_user AND wait_event_type = 'Lock'"


async def test_a_device_is_deleted_while_another_node_writes_its_activity(postgresql: PostgresqlServer) -> None:
    """The other node writes the device, then the report of its gateway; PostgreSQL would end one of both."""
    url = await postgresql.new_schema()
    store, engine = Store(url, shared=True), create_async_engine(url)
    await store.open()
    owner = collection()
    written = device(owner)
    await store.put_collection(owner)
    await store.put_devices([written])
    async with asyncio.timeout(PATIENCE), engine.connect() as other, engine.connect() as watcher:
        await other.execute(text("UPDATE devices SET last_received_ns = 1"))
        deleting = asyncio.create_task(store.delete_device(written.id))
        while not (await watcher.execute(text(WAITING))).scalar_one():
            await watcher.rollback()
        await other.execute(text("UPDATE gateway_metadata SET last_update = 1"))
        await other.commit()
        await deleting
    contents = await store.load()
    await store.close()
    await engine.dispose()

    assert contents.devices == []
