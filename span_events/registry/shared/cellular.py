"""Notifications of attachments and reservations that one of several nodes wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL: Final = "span_cellular"
_ATTACHMENTS: Final = 200
_RESERVATIONS: Final = 60
"""Keys in a notification: 20 and 46 octets each; PostgreSQL takes 8,000 octets."""


class Written(NamedTuple):
    """Keys of the rows that a node wrote or deleted."""

    node: str
    attachments: list[int]
    reservations: list[str]


async def notify(
    connection: AsyncConnection, node: str, attachments: Sequence[int], reservations: Sequence[str]
) -> None:
    """Notify other nodes of rows, in the transaction that writes them."""
    for start in range(0, len(attachments), _ATTACHMENTS):
        await _send(connection, Written(node, list(attachments[start : start + _ATTACHMENTS]), []))
    for start in range(0, len(reservations), _RESERVATIONS):
        await _send(connection, Written(node, [], list(reservations[start : start + _RESERVATIONS])))


def read(payload: str) -> Written:
    """Read a notification."""
    return Written(*orjson.loads(payload))


async def _send(connection: AsyncConnection, written: Written) -> None:
    await connection.execute(select(func.pg_notify(CHANNEL, orjson.dumps(tuple(written)).decode())))
