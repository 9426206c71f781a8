"""
The journal: which rows of a shared registry changed, in the order of the commits.

Each change of configuration appends one row to the table ``changes``, in the transaction that writes the change. Its
version is one above the last version that the writer has seen, so the primary key refuses a writer that missed a
change, also one that has lost the lock of the registry. Versions are therefore committed in their order, and a reader
that asks for those above the last one that it knows misses none. (A column that counts by itself would not do: two
transactions commit in another order than they took their numbers.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import Conflict
from span_events.registry import tables

CHANNEL: Final = "span_changes"
"""Channel of PostgreSQL's notifications of new versions."""
KEPT: Final = 10_000
"""Versions that can be read; a node that was away for more reads the whole registry."""

Keys = Mapping[str, Iterable[int]]
"""Primary keys of changed rows, by table; a PSK is a change of its device."""


class Journal:
    """Appends the changes of this node, and reads those of all nodes."""

    def __init__(self) -> None:
        self.seen = 0
        """Version that the directory of this node shows."""

    async def append(self, connection: AsyncConnection, changed: Keys) -> int:
        """
        Append a change in the transaction that writes it, and notify other nodes; return the change's version.

        Raises:
            Conflict: Another node changed the registry since `seen`; the transaction must not be committed.
        """
        version, table = self.seen + 1, tables.changes
        row = {"version": version, "changed": {str(kind): list(keys) for kind, keys in changed.items()}}
        added = await connection.execute(insert(table).values(row).on_conflict_do_nothing())
        if not added.rowcount:
            raise Conflict(
                "Another node changed the registry at the same moment",
                hint="Repeat the request; nothing of it was written.",
            )
        await connection.execute(delete(table).where(table.c.version <= version - KEPT))
        await connection.execute(select(func.pg_notify(CHANNEL, str(version))))
        return version

    async def latest(self, connection: AsyncConnection) -> int:
        """Return the latest version; 0 if nothing was ever changed."""
        found = await connection.execute(select(func.coalesce(func.max(tables.changes.c.version), 0)))
        return int(found.scalar_one())

    async def since(self, connection: AsyncConnection) -> tuple[int, dict[str, set[int]] | None]:
        """
        Read the changes after `seen`.

        Returns:
            The latest version, and the primary keys of the rows that changed; None if the journal does not reach back
            to `seen`, so that all rows have to be read.
        """
        latest = await self.latest(connection)
        if latest == self.seen:
            return latest, {}
        table = tables.changes
        wanted = select(table.c.version, table.c.changed).where(table.c.version > self.seen).order_by(table.c.version)
        rows = (await connection.execute(wanted)).all()
        if not rows or rows[0].version != self.seen + 1:  # without rows, it is another database, from a dump
            return latest, None
        found: dict[str, set[int]] = {}
        for _, changed in rows:
            for kind, keys in changed.items():
                found.setdefault(kind, set()).update(keys)
        return latest, found
