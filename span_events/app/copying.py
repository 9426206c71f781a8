"""
Copies a registry between SQLite and PostgreSQL, both ways, as of one moment and while servers use it.

A copy has the rows of a single server: configuration, state of devices and gateways, messages, attachments, tokens and
users. It has none of those by which nodes work together: their numbers, the journal of changes, claims of messages, and
the common secrets, which are copied as files (see `app.backup`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Table, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import StorageUnavailable
from span_events.registry import tables
from span_events.registry.database import Database, may_pause
from span_events.registry.migrations import schema
from span_events.registry.shared.secrets import SharedSecrets
from span_events.registry.tables import Row

_OF_NODES: Final = (tables.changes, tables.nodes, tables.secrets)
COPIED: Final = tuple(
    each for each in tables.metadata.sorted_tables if each is not tables.about and each not in _OF_NODES
)
"""Tables of a copy; those that others refer to come first."""
_BATCH: Final = 500
"""Rows in memory at a time."""


async def copy_rows(source: AsyncConnection, target: AsyncConnection) -> None:
    """
    Copy all rows, in a transaction of each connection.

    Args:
        source: Its reads see one moment.
        target: Has empty tables of the same schema.
    """
    clean = _without_nul if target.dialect.name == "postgresql" else _unchanged
    for table in COPIED:
        found = await source.stream(select(table).order_by(table.columns[0]))
        async for rows in found.mappings().partitions(_BATCH):
            await target.execute(insert(table), [_row(table, clean(dict(each))) for each in rows])


async def export(url: str, target: Path, secret_key: bytes | None) -> dict[str, bytes]:
    """
    Write the registry in PostgreSQL to a new file of SQLite.

    Args:
        secret_key: Key of the common secrets (`read_key`); None if there are none.

    Returns:
        The common secrets by name: files of the data directory of a single server.

    Raises:
        StorageUnavailable: The registry cannot be read, or has another schema, or the file cannot be written.
    """
    source, copy = Database(url), Database(_url_of(target))
    try:
        await source.open(schema.require)
        await copy.open()
        async with source.connection(snapshot=True, patient=True) as reading:
            await copy.write(lambda writing: copy_rows(reading, writing))
        if secret_key is None:
            return {}
        secrets = SharedSecrets(source, secret_key)
        return {**await secrets.read("pki/"), **await secrets.read("login.key")}
    finally:
        await copy.close()
        await source.close()


async def fill(url: str, source: Path, finish: Callable[[], None]) -> None:
    """
    Fill an empty registry in PostgreSQL from a file of SQLite.

    Args:
        source: The file, which is migrated if an older release wrote it.
        finish: Called before the commit; an error in it leaves the registry empty.

    Raises:
        StorageUnavailable: The registry is not empty, a server uses it, or one of both cannot be used.
    """
    copied, target = Database(_url_of(source)), Database(url)
    try:
        await copied.open()
        await target.open(schema.prepare_new)
        await target.lock()
        async with copied.connection(snapshot=True) as reading:

            async def work(writing: AsyncConnection) -> None:
                await may_pause(writing)  # while files are moved, perhaps to another file system
                await _require_empty(writing, target.name)
                await copy_rows(reading, writing)
                finish()

            await target.write(work)
    finally:
        await target.close()
        await copied.close()


async def _require_empty(connection: AsyncConnection, name: str) -> None:
    for table in tables.metadata.sorted_tables:
        if table is not tables.about and (await connection.execute(select(table).limit(1))).first() is not None:
            error = StorageUnavailable(f"{name} is not empty: the table {table.name} has rows")
            error.hint = "Restore into a new database: a server that started once has made its first token."
            raise error


def _url_of(path: Path) -> str:
    return f"sqlite+aiosqlite:///{path}"


def _row(table: Table, row: Row) -> Row:
    """Return a row for a registry in which no node has claimed anything."""
    return row | {"claimed_by": ""} if table is tables.downstream else row


def _unchanged(value: Any) -> Any:
    return value


def _without_nul(value: Any) -> Any:
    """Replace NUL in text, which SQLite stores and PostgreSQL refuses."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list) else value
