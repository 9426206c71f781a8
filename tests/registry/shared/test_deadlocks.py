"""Transactions of two nodes on the same rows: one waits for the other, never both."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from span_events.errors import StorageUnavailable
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import PATIENCE
from tests.registry.rows import collection, device

LIMITS = (
    "SELECT name, setting, source FROM pg_settings"
    " WHERE name IN ('lock_timeout', 'idle_in_transaction_session_timeout') ORDER BY name"
)
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


async def test_a_node_that_stands_still_in_a_transaction_holds_up_no_other(postgresql: PostgresqlServer) -> None:
    """It froze, or lost the network, with a device locked; the others would wait for it, and call PostgreSQL silent."""
    url = await postgresql.new_schema()
    still, alive = Store(url, shared=True), Store(url, shared=True)
    await still.open()
    await alive.open()
    owner = collection()
    written = device(owner)
    await still.put_collection(owner)
    await still.put_devices([written])
    locked, ended, limits = asyncio.Event(), asyncio.Event(), list[str]()

    async def work(connection: AsyncConnection) -> None:
        for each in ("lock_timeout", "idle_in_transaction_session_timeout"):
            limits.append((await connection.execute(text(f"SHOW {each}"))).scalar_one())
        await connection.execute(text("UPDATE devices SET last_received_ns = 1"))
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '200ms'"))  # instead of 5 s
        locked.set()
        await ended.wait()

    writing = asyncio.create_task(still._database.write(work))
    await locked.wait()
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    await alive.put_activity([written])
                    break
                except StorageUnavailable:
                    continue
    finally:
        ended.set()
        with pytest.raises(StorageUnavailable):  # PostgreSQL has undone its change
            await writing
        await alive.close()
        await still.close()

    assert limits == ["4s", "5s"]


async def test_a_snapshot_may_pause(shared_store: Store) -> None:
    """Between two of its tables, thousands of rows become objects."""
    async with shared_store._database.connection(snapshot=True) as connection:
        shown = (await connection.execute(text("SHOW idle_in_transaction_session_timeout"))).scalar_one()

    assert shown == "0"


async def test_a_patient_connection_has_no_limits_whatever_those_of_the_database(shared_store: Store) -> None:
    """A migration or copy waits and computes for long; the source tells a limit of ours from PostgreSQL's default."""
    async with shared_store._database.connection(patient=True) as connection:
        found = await connection.execute(text(LIMITS))
        shown = [tuple(row) for row in found]

    assert shown == [
        ("idle_in_transaction_session_timeout", "0", "client"),
        ("lock_timeout", "0", "client"),
    ]
