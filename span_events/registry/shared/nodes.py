"""
Numbers of nodes: each id that a node makes holds its number, so no two nodes may have one at a time.

A number is leased in the registry, by the clock of PostgreSQL, and renewed. A node that cannot renew goes on with its
number: after the lease ends, the number rests for a day before it is leased again, and ids hold the time.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import TextClause, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import StorageUnavailable
from span_events.ids import NODES
from span_events.log import get_logger
from span_events.registry.database import Database

log = get_logger("registry")

RENEWAL: Final = 3.0
"""Seconds between renewals."""
_LOCK: Final = 0x7370_6170
"""Key of the advisory lock of leases."""

_FREE: Final = text(
    f"SELECT number FROM generate_series(0, {NODES - 1}) AS numbers(number) LEFT JOIN nodes USING (number)"  # noqa: S608
    " WHERE nodes.number IS NULL OR (leased_until < now() AND rests_until < now())"
    " ORDER BY leased_until NULLS FIRST, number LIMIT 1"
)
_LEASE: Final = text(
    "INSERT INTO nodes (number, holder, leased_until, rests_until)"
    " VALUES (:number, :holder, now() + interval '10 s', now() + interval '1 day 10 s')"
    " ON CONFLICT (number) DO UPDATE SET holder = excluded.holder, leased_until = excluded.leased_until,"
    " rests_until = excluded.rests_until"
)
_RENEW: Final = text(
    "UPDATE nodes SET leased_until = now() + interval '10 s', rests_until = now() + interval '1 day 10 s'"
    " WHERE number = :number AND holder = :holder"
)
_OTHERS: Final = text("SELECT holder FROM nodes WHERE leased_until > now() AND holder <> :holder ORDER BY number")
_RELEASE: Final = text(
    "UPDATE nodes SET leased_until = now(), rests_until = now() + interval '1 min'"  # it makes no more ids
    " WHERE number = :number AND holder = :holder"
)


class NodeNumber:
    """
    The number of this node.

    Args:
        holder: Names this process.
    """

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder
        self._number: int | None = None

    async def lease(self) -> int:
        """
        Lease the number that has been free for longest, and return it.

        Raises:
            StorageUnavailable: The database cannot be used, or no number is free.
        """

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
            number = (await connection.execute(_FREE)).scalar_one_or_none()
            if number is None:
                error = StorageUnavailable(f"None of the {NODES} numbers of nodes is free")
                error.hint = (
                    "A number rests for a day after a node that was killed. Look for nodes that start in a loop."
                )
                raise error
            await connection.execute(_LEASE, {"number": number, "holder": self._holder})
            return int(number)

        self._number = number = await self._database.write(work)
        log.info("node_number_leased", node=number)
        return number

    async def renew(self) -> int:
        """
        Renew the lease; return the number, which is another one if the lease ended more than a day ago.

        Raises:
            StorageUnavailable: The database cannot be used; the node goes on with its number.
        """
        if self._number is not None and await self._changed(_RENEW):
            return self._number
        log.warning("node_number_lost", node=self._number, hint="This node could not renew its lease for a day.")
        return await self.lease()

    async def others(self) -> list[str]:
        """
        Return the names of the other nodes that hold a lease now.

        Raises:
            StorageUnavailable: The database cannot be used.
        """
        async with self._database.connection() as connection:
            found = await connection.execute(_OTHERS, {"holder": self._holder})
            return [str(each) for each in found.scalars()]

    async def release(self) -> None:
        """Give the number back, if there is one; this node makes no more ids."""
        if self._number is not None:
            await self._changed(_RELEASE)
            self._number = None

    async def _changed(self, statement: TextClause) -> bool:
        own: dict[str, Any] = {"number": self._number, "holder": self._holder}

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(statement, own)).rowcount > 0

        return await self._database.write(work)
