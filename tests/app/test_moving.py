"""Backups of a registry in PostgreSQL, and moves between SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import sqlite3
import tarfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, LargeBinary, String, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.app import copying
from span_events.app.backup import REGISTRY, back_up, restore
from span_events.config import Config
from span_events.errors import StorageUnavailable
from span_events.pki.files import prepare_folder
from span_events.registry import tables
from span_events.registry.database import Database
from span_events.registry.migrations import schema
from span_events.registry.shared.secrets import SharedSecrets, read_key
from tests.bench.authorities import prepare_authority
from tests.bench.clock import ManualClock
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.servers import running
from tests.registry.rows import HIGH, url

MANY: Final = copying._BATCH + 1
"""Rows of one table: more than are copied at a time."""
Content = dict[str, list[tuple[object, ...]]]


def value_of(column: Column[Any], number: int) -> object:
    """Return a value of a column's type; keys refer to the row with the same number."""
    kind = column.type
    if column.primary_key or column.foreign_keys:
        return number if isinstance(kind, BigInteger) else f"10.0.0.{number}"
    if isinstance(kind, JSON):
        return {"name": "Måling\u2028", "big": HIGH, "none": None, "list": [1, "a"]}
    if isinstance(kind, LargeBinary):
        return number.to_bytes(4, "big") + b"\x00\xff"
    if isinstance(kind, Boolean):
        return number % 2 == 0
    if isinstance(kind, BigInteger):
        return HIGH - number
    if isinstance(kind, Float):
        return number / 3
    assert isinstance(kind, String), f"{column}: the test has no value of this type"
    return "" if column.name == "claimed_by" else f"å{number}"


def rows_of(table: Table) -> list[dict[str, object]]:
    """Return rows for a table."""
    count = MANY if table is tables.token_uses else 2
    return [{each.name: value_of(each, number) for each in table.columns} for number in range(1, count + 1)]


@asynccontextmanager
async def opened(registry: str) -> AsyncIterator[Database]:
    """Open a registry."""
    database = Database(registry)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def content(database: Database) -> Content:
    """Read what a copy has."""
    async with database.connection() as connection:
        return {
            each.name: [tuple(row) for row in await connection.execute(select(each).order_by(each.columns[0]))]
            for each in copying.COPIED
        }


async def fill(database: Database) -> None:
    """Write rows into each table, and a node of the registry."""
    async with database.connection(write=True) as connection:
        for table in copying.COPIED:
            await connection.execute(insert(table), rows_of(table))


def config_of(registry: str = "", secret_file: Path | None = None) -> Config:
    """Return the settings of a server."""
    return Config.model_validate(
        {"registry": {"url": registry}, "pki": {"secret_file": str(secret_file) if secret_file else ""}}
    )


async def archived(folder: Path, config: Config, file: Path) -> Mapping[str, bytes]:
    """Make a backup; return the members of the archive."""
    await asyncio.to_thread(back_up, folder, config, file)
    with tarfile.open(file) as archive:
        return {each.name: found.read() for each in archive if (found := archive.extractfile(each)) is not None}


async def test_every_table_is_the_same_after_a_move_to_postgresql_and_back(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """Also large numbers, all octets and text beyond ASCII; rows of nodes stay behind."""
    there, moved, back = await postgresql.new_schema(), tmp_path / "moved", tmp_path / "back"
    await prepare_authority(tmp_path / "old" / "pki", ManualClock())
    async with opened(url(tmp_path / "old")) as database:
        await fill(database)
        before = await content(database)
        await asyncio.to_thread(back_up, tmp_path / "old", config_of(), tmp_path / "one")
    await asyncio.to_thread(restore, moved, config_of(there), tmp_path / "one")
    async with opened(there) as database:
        in_postgresql = await content(database)
        await asyncio.to_thread(back_up, moved, config_of(there), tmp_path / "two")
    await asyncio.to_thread(restore, back, config_of(), tmp_path / "two")
    async with opened(url(back)) as database:
        after = await content(database)

    assert in_postgresql == before
    assert after == before
    assert len(before["token_uses"]) == MANY
    assert not (moved / REGISTRY).exists()
    assert {each.name for each in tables.metadata.sorted_tables} - before.keys() == {
        *("about", "changes", "nodes", "secrets")
    }


async def test_a_server_moves_to_postgresql_with_its_keys_and_tokens(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """While the old server runs; and the new one is backed up while it runs, into the same kind of archive."""
    there, old, new = await postgresql.new_schema(), tmp_path / "old", tmp_path / "new"
    async with running(old) as server:
        device = await server.device(await server.collection(), "127.0.9.9")
        first = await archived(old, config_of(), tmp_path / "one")
        root, token = server.server.authority.root_pem, server.token
    await asyncio.to_thread(restore, new, config_of(there), tmp_path / "one")
    async with running(new, registry={"url": there}) as server:
        with pytest.raises(StorageUnavailable, match="is in use by another server"):
            await asyncio.to_thread(restore, tmp_path / "third", config_of(there), tmp_path / "one")
        second = await archived(new, config_of(there), tmp_path / "two")
        known = await server.server.tokens.find(token)
        same_root, devices = server.server.authority.root_pem == root, list(server.server.fleet.directory.devices)
    with pytest.raises(StorageUnavailable, match="is not empty: the table collections has rows") as refused:
        await asyncio.to_thread(restore, tmp_path / "fourth", config_of(there), tmp_path / "one")

    assert devices == [device.id]
    assert known is not None
    assert same_root
    assert first.keys() == second.keys()
    assert [first[each] for each in first if each.startswith("pki/")] == [
        second[each] for each in second if each.startswith("pki/")
    ]
    assert "Restore into a new database" in refused.value.hint
    assert [each.name for each in (tmp_path / "fourth").iterdir()] == ["lock"]


async def test_keys_that_nodes_have_in_common_are_in_the_archive_as_files(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """They win over those of the data directory; without them and without `pki.secret_file` there is no backup."""
    there, secret, node = await postgresql.new_schema(), tmp_path / "secret", tmp_path / "node"
    secret.write_bytes(base64.b64encode(b"s" * 36))
    node.mkdir()
    (node / "login.key").write_bytes(b"own")
    async with opened(there) as database:
        secrets = SharedSecrets(database, read_key(secret))
        await secrets.add("login.key", b"common")
        await secrets.add("pki/root.pem", b"root")
    found = await archived(node, config_of(there, secret), tmp_path / "file")
    with pytest.raises(StorageUnavailable, match="has no keys of the authority"):
        await asyncio.to_thread(back_up, node, config_of(there), tmp_path / "other")

    assert (found["login.key"], found["pki/root.pem"]) == (b"common", b"root")
    assert (node / "login.key").read_bytes() == b"own"
    assert b"common" not in found[REGISTRY]


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_a_copy_shows_one_moment(tmp_path: Path, postgresql: PostgresqlServer, kind: str) -> None:
    """A change that is written meanwhile is in it as a whole or not at all."""
    prepare_folder(tmp_path / "copy")
    registry = url(tmp_path) if kind == "sqlite" else await postgresql.new_schema()
    async with opened(registry) as source, opened(registry) as other, opened(url(tmp_path / "copy")) as target:
        await fill(source)
        before = await content(source)
        async with source.connection(snapshot=True, patient=True) as reading:
            await reading.execute(select(func.count()).select_from(tables.about))
            for table in reversed(copying.COPIED):
                await other.write(lambda connection, table=table: connection.execute(table.delete()))  # type: ignore[misc]
            await target.write(lambda writing: copying.copy_rows(reading, writing))

        assert await content(target) == before


async def test_text_that_postgresql_refuses_is_replaced(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """NUL in a text; claims of nodes end."""
    async with opened(url(tmp_path)) as source, opened(await postgresql.new_schema()) as target:
        row = rows_of(tables.downstream)[0] | {"state": "a\0b", "claimed_by": "node"}
        blob = rows_of(tables.collections)[0] | {"tags": {"a\0": ["b\0", 1]}}
        async with source.connection(write=True) as connection:
            await connection.execute(insert(tables.downstream), [row])
            await connection.execute(insert(tables.collections), [blob])
        async with source.connection(snapshot=True) as reading:
            await target.write(lambda writing: copying.copy_rows(reading, writing))
        found = await content(target)

    assert found["downstream"][0][-2:] == ("a\ufffdb", "")
    assert found["collections"][0][-1] == {"a\ufffd": ["b\ufffd", 1]}


@pytest.mark.parametrize("prepare", [schema.require, schema.prepare_new])
async def test_a_registry_of_another_release_is_left_alone(
    tmp_path: Path, postgresql: PostgresqlServer, prepare: Any
) -> None:
    """A backup reads nothing of it, a restore migrates nothing in it."""
    there = await postgresql.new_schema()
    async with opened(there) as database, database.connection(write=True) as connection:
        await connection.execute(tables.about.update().values(schema=tables.SCHEMA - 1))
    with pytest.raises(StorageUnavailable, match=rf"has schema {tables.SCHEMA - 1}, this release") as refused:
        await Database(there).open(prepare)

    assert "the release that last served" in refused.value.hint


async def test_a_database_that_no_server_has_used_is_not_backed_up(
    tmp_path: Path, postgresql: PostgresqlServer
) -> None:
    """It gets no tables by that."""
    there = await postgresql.new_schema()
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="has no tables: no server has used it"):
            await asyncio.to_thread(back_up, tmp_path, config_of(there), tmp_path / "file")

    assert [*tmp_path.iterdir()] == []  # noqa: ASYNC240  # a test


async def test_a_restore_may_move_files_for_long(
    tmp_path: Path, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction is idle meanwhile; PostgreSQL would undo the rows of files that are in place."""
    there, source, shown = await postgresql.new_schema(), tmp_path / REGISTRY, list[str]()
    async with opened(url(tmp_path)):
        pass

    async def look(_: AsyncConnection, writing: AsyncConnection) -> None:
        limit = await writing.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
        shown.append(limit.scalar_one())

    monkeypatch.setattr(copying, "copy_rows", look)
    await copying.fill(there, source, lambda: None)

    assert shown == ["0"]


async def test_a_restore_that_fails_leaves_postgresql_empty(tmp_path: Path, postgresql: PostgresqlServer) -> None:
    """The rows and the files come together; the next attempt works."""
    there, source = await postgresql.new_schema(), tmp_path / REGISTRY
    async with opened(url(tmp_path)) as database:
        await fill(database)

    def fail() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageUnavailable, match="No space left"):
        await copying.fill(there, source, fail)
    await copying.fill(there, source, lambda: None)
    with closing(sqlite3.connect(source)) as file:
        (count,) = file.execute("SELECT count(*) FROM token_uses").fetchone()

    assert count == MANY
