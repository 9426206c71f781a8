"""The registry in PostgreSQL: one server has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.app import Server
from span_events.config import Config
from span_events.errors import StorageUnavailable
from span_events.fleet.collections import CollectionChange
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.ports import FREE


async def test_clients_12_a_second_server_on_one_registry_is_refused(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """Each keeps the registry in memory and would undo changes of the other. After the first, the second may start."""
    config = Config(**FREE | {"registry": {"url": await postgresql.new_schema()}})
    async with Server(config, data_dir=tmp_path / "one") as first:
        made = await first.fleet.collections.create(CollectionChange())
        with pytest.raises(StorageUnavailable, match="is in use by another server") as caught:
            await Server(config, data_dir=tmp_path / "two").__aenter__()
    async with Server(config, data_dir=tmp_path / "two") as second:
        found = second.fleet.directory.collection(made.id)

    assert "Several share one only with bus.url" in caught.value.hint
    assert found.id == made.id


@pytest.fixture
async def url(postgresql: PostgresqlServer) -> str:
    """An empty registry."""
    return await postgresql.new_schema()


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    """The registry as a single server opens it, with its lock."""
    opened = Store(url)
    await opened.open()
    await opened.lock()
    yield opened
    await opened.close()


@pytest.fixture
async def other(url: str) -> AsyncIterator[Store]:
    """The same registry as a second server opens it, before it locks it."""
    opened = Store(url)
    await opened.open()
    yield opened
    await opened.close()


async def lose_lock(postgresql: PostgresqlServer) -> None:
    """End the connection of the lock, as a restart of PostgreSQL does."""
    await postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")


async def test_a_restart_of_postgresql_lets_no_second_server_in(
    store: Store, other: Store, postgresql: PostgresqlServer
) -> None:
    """It ends the lock with its connection; the next write takes it again."""
    await lose_lock(postgresql)
    await store.probe()
    with pytest.raises(StorageUnavailable, match="is in use by another server"):
        await other.lock()


async def test_a_write_that_fails_while_postgresql_is_away_does_not_give_up_the_lock(
    store: Store, other: Store, postgresql: PostgresqlServer
) -> None:
    """The first write after the restart takes it again, however many failed before."""
    postgresql.stop()
    try:
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="cannot be used"):
                await store.probe()
    finally:
        postgresql.start()
    await store.probe()
    with pytest.raises(StorageUnavailable, match="is in use by another server"):
        await other.lock()


async def test_a_server_that_lost_its_lock_to_another_cannot_write_until_that_has_stopped(
    store: Store, other: Store, postgresql: PostgresqlServer
) -> None:
    """It writes whole rows from its memory, which would undo the changes of the other server."""
    await lose_lock(postgresql)
    await other.lock()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="is in use by another server"):
            await store.probe()
    with pytest.raises(StorageUnavailable, match="is in use by another server"):
        await store.put_token_uses({1: 1})
    await other.close()
    await store.put_token_uses({1: 1})

    assert await store.token_uses() == {1: 1}
