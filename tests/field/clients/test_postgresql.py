"""The registry in PostgreSQL: one server has it."""

from __future__ import annotations

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


async def test_a_restart_of_postgresql_lets_no_second_server_in(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """It ends the lock with its connection; the next look at the registry takes it again."""
    url = await postgresql.new_schema()
    store, other = Store(url), Store(url)
    await store.open()
    await other.open()
    try:
        await store.lock()
        await postgresql.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
        await store.probe()
        with pytest.raises(StorageUnavailable, match="is in use by another server"):
            await other.lock()
    finally:
        await store.close()
        await other.close()
