"""
The schema: creates the tables of an empty database, and migrates those of an older release.

The table ``about`` holds the versions that a database has had, since the first release. It is read with a plain query,
so that Alembic is imported only where there is something to migrate.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, func, insert, inspect, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateIndex, CreateTable

from span_events.errors import StorageUnavailable
from span_events.log import get_logger
from span_events.registry import tables
from span_events.registry.postgresql import LOCK_OF_SERVERS

log = get_logger("registry")

_LOCK: Final = 0x7370_616D
"""Key of the advisory lock of migrations."""


async def prepare(connection: AsyncConnection, name: str) -> None:
    """
    Create the tables, or migrate them; processes that start together do so once.

    Args:
        connection: A connection in a transaction, which holds all changes: after a failure, there are none.
        name: The database, for messages.

    Raises:
        StorageUnavailable: A newer release wrote the database, or servers of an older one use it now.
    """
    await _lock(connection)
    await connection.execute(CreateTable(tables.about, if_not_exists=True))
    found = (await connection.execute(select(func.max(tables.about.c.schema)))).scalar_one()
    if found == tables.SCHEMA:
        return
    if found is None:
        await _create(connection)
    elif found < tables.SCHEMA:
        await _require_unused(connection, name, found)
        await connection.run_sync(_migrate, found)
        log.info("registry_migrated", schema=tables.SCHEMA, was=found)
    else:
        error = StorageUnavailable(
            f"{name} has schema {found}, this release knows {tables.SCHEMA}: a newer release wrote it"
        )
        error.hint = "Run that release or a newer one, or restore a backup that this release made."
        raise error
    await connection.execute(insert(tables.about).values(schema=tables.SCHEMA))


async def require(connection: AsyncConnection, name: str) -> None:
    """
    Refuse a database without the tables of this release; write nothing.

    Raises:
        StorageUnavailable: It has none, or those of another release.
    """
    found = await _found(connection)
    if found is None:
        raise StorageUnavailable(f"{name} has no tables: no server has used it")
    _require_current(found, name)


async def prepare_new(connection: AsyncConnection, name: str) -> None:
    """
    Create the tables unless they are there.

    Raises:
        StorageUnavailable: The tables are those of another release.
    """
    found = await _found(connection)
    if found is not None:
        _require_current(found, name)
    await prepare(connection, name)


async def _found(connection: AsyncConnection) -> int | None:
    """Return the schema of a database; None without tables."""
    if not await connection.run_sync(lambda sync: inspect(sync).has_table(tables.about.name)):
        return None
    found: int | None = (await connection.execute(select(func.max(tables.about.c.schema)))).scalar_one()
    return found


def _require_current(found: int, name: str) -> None:
    if found != tables.SCHEMA:
        error = StorageUnavailable(f"{name} has schema {found}, this release knows {tables.SCHEMA}")
        error.hint = "Use the release that last served this registry, or serve it once with this one."
        raise error


async def _lock(connection: AsyncConnection) -> None:
    """Let other processes wait until the transaction ends."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
    else:
        await connection.exec_driver_sql("BEGIN IMMEDIATE")  # the driver would begin with the first row, not table


async def _require_unused(connection: AsyncConnection, name: str, found: int) -> None:
    """Refuse to change tables under servers that do not know the change. SQLite's have the lock of their folder."""
    attempt = select(func.pg_try_advisory_xact_lock(LOCK_OF_SERVERS))
    if connection.dialect.name == "postgresql" and not (await connection.execute(attempt)).scalar_one():
        error = StorageUnavailable(
            f"{name} has schema {found} of an older release, and servers of that release use it: this release has"
            f" {tables.SCHEMA}, and would change the tables under them"
        )
        error.hint = "Stop all of them, then start one of this release, and then the others."
        raise error


async def _create(connection: AsyncConnection) -> None:
    for table in tables.metadata.sorted_tables:
        await connection.execute(CreateTable(table, if_not_exists=True))
        for index in table.indexes:
            await connection.execute(CreateIndex(index, if_not_exists=True))


def _migrate(connection: Connection, found: int) -> None:
    from span_events.registry.migrations.run import run  # noqa: PLC0415  # Alembic takes long to import

    run(connection, found)
