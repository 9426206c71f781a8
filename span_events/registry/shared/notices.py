"""
Notices: a node notifies the others of the rows that it wrote without an entry in the journal.

The rows are activity of devices and gateways, downstream messages, attachments and reservations. A notice leaves with
the commit of its transaction, and PostgreSQL keeps the order of commits. The sessions of gateways and the warnings of
certificates, which no table has, are told the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

CHANNEL: Final = "span_rows"
_KEYS: Final = 150
"""Primary keys in a notice, of at most 52 octets each; PostgreSQL takes 8,000 octets."""


class Notice(NamedTuple):
    """Primary keys of rows that a node wrote or deleted."""

    node: str
    kind: str
    """``devices``, ``gateways``, ``downstream``, ``attachments``, ``reservations``, or those that no table has."""
    keys: list[int] | list[str]


async def notify(connection: AsyncConnection, node: str, kind: str, keys: Sequence[int] | Sequence[str]) -> None:
    """Notify other nodes of rows, in the transaction that writes them."""
    for start in range(0, len(keys), _KEYS):
        payload = orjson.dumps((node, kind, keys[start : start + _KEYS])).decode()
        await connection.execute(select(func.pg_notify(CHANNEL, payload)))


def read(payload: str) -> Notice:
    """Decode the payload of a notification."""
    return Notice(*orjson.loads(payload))
