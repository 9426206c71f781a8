"""Attachments and reservations of a shared registry: no address is promised twice, and other nodes are notified."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select, text
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import tables
from span_events.registry.database import among, execute_many, read
from span_events.registry.shared import notices
from span_events.registry.tables import Row

_RELEASED: Final = ("address", "device_id", "imsi", "imei", "until_ms")
"""Columns that tell a reservation from others of its address."""
_NEVER: Final = (1 << 63) - 1
_RESERVE: Final = text(
    "INSERT INTO cellular_reservations AS old (address, device_id, imsi, imei, apn, until_ms)"
    " VALUES (:address, :device_id, :imsi, :imei, :apn, :until_ms)"
    " ON CONFLICT (address) DO UPDATE SET device_id = excluded.device_id, imsi = excluded.imsi, imei = excluded.imei,"
    " apn = excluded.apn, until_ms = excluded.until_ms"
    " WHERE (old.device_id, old.imsi, old.imei) IS NOT DISTINCT FROM (excluded.device_id, excluded.imsi, excluded.imei)"
)
_RELEASE: Final = text(
    "DELETE FROM cellular_reservations WHERE address = :address AND until_ms <= :until_ms"
    " AND device_id IS NOT DISTINCT FROM CAST(:device_id AS bigint) AND (imsi, imei) = (:imsi, :imei)"
)


async def release(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Delete reservations, except those that another node has renewed, or replaced by one of another subscriber."""
    await execute_many(connection, _RELEASE, [{each: row[each] for each in _RELEASED} for row in _ordered(rows)])


async def reserve(connection: AsyncConnection, rows: Sequence[Row]) -> list[Row]:
    """
    Write reservations, except those of addresses that another subscriber has reserved, or is attached with.

    Returns:
        The reservations of others instead; they never lapse for an address that is in use.
    """
    table, attached = tables.cellular_reservations, tables.cellular_sessions
    wanted = {row["address"]: row for row in rows}
    if not wanted:
        return []
    await execute_many(connection, _RESERVE, _ordered(rows))
    found = await read(connection, table, wanted)
    lost = [dict(row) for row in found if _owner(row) != _owner(wanted[row["address"]])]
    for address in (attached.c.address, attached.c.prefix):
        used = select(attached, address.label("used")).where(among(address, wanted))
        for row in (await connection.execute(used)).mappings().all():
            ours = wanted[row["used"]]
            if row["device_id"] != ours["device_id"] or (row["device_id"] is None and row["imsi"] != ours["imsi"]):
                names = ("device_id", "imsi", "imei", "apn")
                lost.append({"address": row["used"], "until_ms": _NEVER, **{each: row[each] for each in names}})
    return lost


def _ordered(rows: Sequence[Row]) -> list[Row]:
    """Order rows, so that two nodes never wait for each other."""
    return sorted(rows, key=lambda row: str(row["address"]))


def _owner(row: Mapping[str, Any] | RowMapping) -> tuple[object, ...]:
    return row["device_id"], row["imsi"], row["imei"]


async def notify(
    connection: AsyncConnection, node: str, attachments: Sequence[int], reservations: Sequence[str]
) -> None:
    """Notify other nodes of rows, in the transaction that writes them."""
    await notices.notify(connection, node, "attachments", attachments)
    await notices.notify(connection, node, "reservations", reservations)
