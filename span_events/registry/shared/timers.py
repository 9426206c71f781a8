"""
Timers of a shared registry: an occurrence whose time has come is claimed by the node that publishes it.

The leader runs the timers. A node that wrongly believes that it leads claims nothing that another node has claimed, so
each occurrence is published once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ARRAY, BigInteger, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry.database import Database
from span_events.registry.shared import cellular, notices

_TAKE_UPDATES: Final = text(
    "WITH taken AS ("
    "SELECT id FROM devices JOIN unnest(:ids, :times) AS seen(id, download_ms) USING (id)"
    " WHERE firmware->>'state' IN ('Downloading', 'Updating')"
    " AND (firmware->>'download_ms')::bigint = seen.download_ms"
    " AND NOT EXISTS (SELECT 1 FROM nodes WHERE holder = firmware->>'node' AND leased_until > now())"
    " ORDER BY id FOR UPDATE OF devices SKIP LOCKED)"  # a locked row is being changed: it is no longer as it was seen
    " UPDATE devices SET firmware = (firmware::jsonb || jsonb_build_object('node', CAST(:node AS text)))::json"
    " FROM taken WHERE devices.id = taken.id RETURNING devices.id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("times", type_=ARRAY(BigInteger)))

_CHECK_SILENCE: Final = text(
    "WITH checked AS (SELECT id FROM cellular_sessions WHERE id = ANY(:ids) ORDER BY id FOR UPDATE)"
    " UPDATE cellular_sessions AS found SET silence_of = device_id FROM checked"
    " WHERE found.id = checked.id AND silence_of IS DISTINCT FROM device_id RETURNING found.id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
_END_ATTACHMENTS: Final = text(
    "WITH ended AS (SELECT id FROM cellular_sessions WHERE id = ANY(:ids) ORDER BY id FOR UPDATE)"
    " DELETE FROM cellular_sessions AS found USING ended WHERE found.id = ended.id RETURNING found.id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


class Timers:
    """
    Claims occurrences for one node.

    Every method raises `StorageUnavailable` when the database cannot be used.

    Args:
        node: Names this process.
    """

    def __init__(self, database: Database, node: str) -> None:
        self._database = database
        self._node = node

    async def take_updates(self, seen: Mapping[int, int]) -> set[int]:
        """
        Claim updates of firmware whose nodes hold no lease; return the ids of the devices.

        Args:
            seen: Time of the last block by the id of a device; a device that asked for another since is left out.
        """
        return await self._claim(_TAKE_UPDATES, ids=list(seen), times=list(seen.values()), node=self._node)

    async def check_silence(self, attachments: Sequence[int]) -> set[int]:
        """Claim the checks of attachments whose devices may be silent; return those that no node had claimed."""
        return await self._claim(_CHECK_SILENCE, ids=attachments)

    async def end_attachments(self, attachments: Sequence[int]) -> set[int]:
        """Delete attachments that timed out, and notify other nodes; return those that no node had deleted."""

        async def work(connection: AsyncConnection) -> set[int]:
            ended = set((await connection.execute(_END_ATTACHMENTS, {"ids": attachments})).scalars())
            await cellular.notify(connection, self._node, sorted(ended), [])
            return ended

        return await self._database.write(work)

    async def tell_warned(self, certificates: Sequence[int]) -> None:
        """Tell other nodes that this one has warned of certificates, by serial number."""
        serials = [str(each) for each in certificates]
        await self._database.write(lambda connection: notices.notify(connection, self._node, "warnings", serials))

    async def _claim(self, statement: TextClause, **values: object) -> set[int]:
        async def work(connection: AsyncConnection) -> set[int]:
            return set((await connection.execute(statement, values)).scalars())

        return await self._database.write(work)
