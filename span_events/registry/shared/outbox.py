"""
Downstream messages of a shared registry: claimed by one node, and known to all.

A claim lasts as long as its node renews the lease of its number. So a message is sent by one node at most, with one
exception: a node that dies, or loses PostgreSQL for longer than its lease, between sending and saying so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import delete, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import tables
from span_events.registry.database import among
from span_events.registry.shared import notices
from span_events.registry.tables import Row

_CLAIM: Final = text(
    "UPDATE downstream SET claimed_by = :node WHERE id = :id AND state = 'pending' AND (claimed_by IN ('', :node)"
    " OR NOT EXISTS (SELECT 1 FROM nodes WHERE holder = claimed_by AND leased_until > now()))"
)
_RELEASE: Final = text("UPDATE downstream SET claimed_by = '' WHERE id = :id AND claimed_by = :node")
_SETTLE: Final = text("UPDATE downstream SET state = :state, sent_ms = :sent_ms, transport = :transport WHERE id = :id")


async def queue(connection: AsyncConnection, node: str, row: Row) -> None:
    """Write a new message."""
    await connection.execute(insert(tables.downstream).values(row))
    await notices.notify(connection, node, "downstream", [row["id"]])


async def claim(connection: AsyncConnection, node: str, message_id: int) -> bool:
    """Claim a waiting message; return False if another node has it, or it waits no longer."""
    return (await connection.execute(_CLAIM, {"node": node, "id": message_id})).rowcount > 0


async def settle(
    connection: AsyncConnection, node: str, rows: Sequence[Row], deleted: Sequence[int], released: Iterable[int]
) -> None:
    """Write what became of messages: sent or failed, deleted, or not sent by this node after all."""
    freed = sorted(released)
    if rows:
        names = ("id", "state", "sent_ms", "transport")
        ordered = sorted(rows, key=lambda row: row["id"])
        await connection.execute(_SETTLE, [{each: row[each] for each in names} for row in ordered])
    if freed:
        await connection.execute(_RELEASE, [{"id": each, "node": node} for each in freed])
    if deleted:
        await connection.execute(delete(tables.downstream).where(among(tables.downstream.c.id, deleted)))
    await notices.notify(connection, node, "downstream", [*(row["id"] for row in rows), *deleted, *freed])
