"""
Downstream messages of a shared registry: claimed by one node, and known to all.

A claim lasts as long as its node renews the lease of its number. So a message is sent by one node at most, with one
exception: a node that dies, or loses PostgreSQL for longer than its lease, between sending and saying so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sqlalchemy import ARRAY, BigInteger, bindparam, delete, insert, text
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import tables
from span_events.registry.database import among
from span_events.registry.shared import notices
from span_events.registry.tables import Row

_CLAIM: Final = text(
    "WITH lease AS ("
    "UPDATE nodes SET leased_until = greatest(leased_until, now() + interval '10 s') WHERE holder = :node"
    " RETURNING holder),"
    " free AS ("
    "SELECT id FROM downstream WHERE id = ANY(:ids) AND state = 'pending' AND (claimed_by IN ('', :node)"
    " OR NOT EXISTS (SELECT 1 FROM nodes WHERE nodes.holder = claimed_by AND leased_until > now()))"
    " ORDER BY id FOR UPDATE SKIP LOCKED)"  # a locked row is being claimed, or given back, by another node
    " UPDATE downstream SET claimed_by = lease.holder FROM free, lease WHERE downstream.id = free.id"
    " RETURNING downstream.id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))
_RELEASE: Final = text("UPDATE downstream SET claimed_by = '' WHERE id = :id AND claimed_by = :node")
_SETTLE: Final = text("UPDATE downstream SET state = :state, sent_ms = :sent_ms, transport = :transport WHERE id = :id")


async def queue(connection: AsyncConnection, node: str, row: Row) -> None:
    """Write a new message, and notify other nodes."""
    await connection.execute(insert(tables.downstream).values(row))
    await notices.notify(connection, node, "downstream", [row["id"]])


async def claim(connection: AsyncConnection, node: str, ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
    """
    Claim waiting messages, and return their ids; another node has the others, or they wait no longer.

    The claims renew the lease that they last for: after an outage of PostgreSQL it may have ended.

    Args:
        begins: Called before the query, once the writes before it are over; the claims are younger than the call.
    """
    begins()
    return set((await connection.execute(_CLAIM, {"node": node, "ids": ids})).scalars())


async def settle(
    connection: AsyncConnection, node: str, rows: Sequence[Row], deleted: Sequence[int], released: Iterable[int]
) -> None:
    """Write the states of sent and failed messages, delete messages, release claims, and notify other nodes."""
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
