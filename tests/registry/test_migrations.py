"""Migrations: a registry of release 0.1.0 gets today's tables and keeps its rows, in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from span_events.errors import StorageUnavailable
from span_events.events.message import Transport
from span_events.registry import tables
from span_events.registry.database import Database
from span_events.registry.model import Blob, Certificate, DownstreamState, Psk, Reservation, Token
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.registry.rows import HIGH, attachment, collection, device, gateway, image, values

RELEASE = Path(__file__).parent
"""Holds dumps of the registries that release 0.1.0 wrote: one row of each kind, see `tests.registry.rows`."""


async def write_release(url: str) -> None:
    """Fill an empty database as release 0.1.0 did."""
    kind = "sqlite" if url.startswith("sqlite") else "postgresql"
    script = (RELEASE / f"release_0_1_0.{kind}.sql").read_text()
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await (driver.executescript(script) if kind == "sqlite" else driver.execute(script))
    await engine.dispose()


async def versions(url: str) -> list[int]:
    """Return the schemas that a registry has had."""
    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = list((await connection.execute(select(tables.about.c.schema).order_by("schema"))).scalars())
    await engine.dispose()
    return found


async def differences(url: str) -> list[object]:
    """Compare the tables of a registry with those of this release."""
    from alembic.autogenerate import compare_metadata  # noqa: PLC0415  # as in `schema`: takes long
    from alembic.migration import MigrationContext  # noqa: PLC0415

    def compare(connection: Connection) -> list[object]:
        found = compare_metadata(MigrationContext.configure(connection), tables.metadata)
        return [each for each in found if "alembic_version" not in str(each)]

    engine = create_async_engine(url)
    async with engine.connect() as connection:
        found = await connection.run_sync(compare)
    await engine.dispose()
    return found


@pytest.fixture
async def old(database_url: str) -> str:
    """Name a registry that release 0.1.0 wrote."""
    await write_release(database_url)
    return database_url


async def test_a_registry_of_release_0_1_0_comes_up_with_everything(old: str) -> None:
    """Rows of every kind survive, and the tables are those of a new registry."""
    store = Store(old)
    await store.open()
    contents = await store.load()
    tokens = await store.tokens()
    await store.close()
    owner = collection()
    expected = device(owner)
    expected.inet.transport = ""  # 0.1.0 did not store it
    (known,) = contents.devices

    assert [values(each) for each in contents.collections] == [values(owner), values(collection(2))]
    assert values(known) == values(expected) | {"psk": Psk(b"\xffpump", b"\x00" * 16)}
    assert [values(each) for each in contents.gateways] == [values(gateway(owner))]
    assert contents.certificates == [Certificate(5, 1, HIGH, None, 1, 2, 3)]
    assert [values(each) for each in contents.attachments] == [values(attachment(None)) | {"device": known}]
    assert contents.reservations == [
        Reservation("10.0.0.7", HIGH, "242016000000001", "350000000000001", "mda.test", HIGH)
    ]
    assert contents.images == [image(6, owner)]
    assert contents.blobs == [Blob(7, 1, HIGH, 3, "image/jpeg", HIGH, HIGH, {"path": "/å"})]
    assert [(each.payload, each.transport, each.state) for each in contents.downstream] == [
        (b"\x00down", Transport.UDP, DownstreamState.SENT)
    ]
    assert tokens == [Token(8, f"{8:064x}", "/", True, "admin", 5)]
    assert await versions(old) == [5, tables.SCHEMA]
    assert await differences(old) == []


async def test_servers_that_start_at_once_migrate_once(old: str) -> None:
    """The others wait for the first, and find today's schema."""
    stores = [Store(old) for _ in range(3)]
    await asyncio.gather(*(each.open() for each in stores))
    await asyncio.gather(*(each.close() for each in stores))

    assert await versions(old) == [5, tables.SCHEMA]


async def test_a_registry_that_servers_of_the_older_release_use_is_not_migrated(postgresql: PostgresqlServer) -> None:
    """They would go on with tables that they do not know; once they have stopped, the new one may start."""
    url = await postgresql.new_schema()
    await write_release(url)
    before = await versions(url)
    older, newer = Database(url), Store(url, shared=True)
    await older.open(prepare=keep)
    await older.lock(shared=True)
    with pytest.raises(StorageUnavailable, match="servers of that release use it") as refused:
        await newer.open()
    unchanged = await versions(url)
    await older.close()
    await newer.open()
    await newer.close()

    assert "Stop all of them" in refused.value.hint
    assert unchanged == before
    assert await versions(url) == [*before, tables.SCHEMA]


async def keep(_connection: AsyncConnection, _name: str) -> None:
    """Leave the tables as they are."""


async def test_a_migration_that_fails_changes_nothing(old: str) -> None:
    """The release before could still open the registry."""
    engine = create_async_engine(old)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE users (id INTEGER)"))
    store = Store(old)
    with pytest.raises(StorageUnavailable, match=r"users.* already exists"):
        await store.open()
    async with engine.connect() as connection:
        present = await connection.run_sync(lambda each: each.dialect.has_table(each, "outputs"))
    await engine.dispose()

    assert not present
    assert await versions(old) == [5]


async def test_a_registry_of_a_newer_release_is_refused(store: Store, database_url: str) -> None:
    """With the schemas of both, and a way out."""
    engine = create_async_engine(database_url)
    async with engine.begin() as connection:
        await connection.execute(tables.about.insert().values(schema=99))
    await engine.dispose()
    with pytest.raises(StorageUnavailable, match=f"has schema 99, this release knows {tables.SCHEMA}") as caught:
        await Store(database_url).open()

    assert "Run that release or a newer one" in caught.value.hint


async def test_a_registry_of_this_release_opens_without_alembic(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its import would double the time of a start."""
    monkeypatch.setitem(sys.modules, "span_events.registry.migrations.run", None)  # an import of it fails
    again = Store(database_url)
    await again.open()
    await again.close()
