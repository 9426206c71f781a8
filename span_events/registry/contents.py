"""Contents: the values in the tables of the registry, all of them or those with some primary keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from sqlalchemy import Table
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.registry import database, rows, tables
from span_events.registry.model import (
    Attachment,
    Blob,
    Certificate,
    Collection,
    Device,
    Downstream,
    Gateway,
    Image,
    Reservation,
)
from span_events.registry.outputs import Output


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All rows that a process reads at its start."""

    collections: list[Collection]
    devices: list[Device]
    downstream: list[Downstream]
    certificates: list[Certificate]
    attachments: list[Attachment]
    gateways: list[Gateway]
    images: list[Image]
    blobs: list[Blob]
    outputs: list[Output]
    reservations: list[Reservation]

    def ids(self, kind: str) -> set[int]:
        """Return the primary keys of the rows of a table that the directory shows."""
        match kind:
            case "certificates":
                return {each.serial for each in self.certificates}
            case "firmware_images":
                return {each.id for each in self.images}
            case _:
                return {each.id for each in getattr(self, kind)}


class Changes(NamedTuple):
    """Changes of other nodes."""

    version: int
    contents: Contents
    """Rows that are new or changed; all rows if too much was missed."""
    removed: dict[str, set[int]] | None
    """Primary keys of rows that are gone, by table; None if all rows were read."""


async def read_contents(
    connection: AsyncConnection,
    keys: Mapping[str, AbstractSet[int]] | None = None,
    collections: Mapping[int, Collection] = MappingProxyType({}),
) -> Contents:
    """
    Read all rows, or those with some primary keys, by table.

    Args:
        collections: Those of the directory, for devices and gateways of a collection that is not read. A device or
            gateway that another node has just moved into a new one is left out: the journal brings both.
    """

    async def read(table: Table, kind: str | None = None) -> Sequence[RowMapping]:
        wanted = None if keys is None else keys.get(kind or table.name, frozenset())
        return await database.read(connection, table, wanted)

    found = [rows.collection_of(row) for row in await read(tables.collections)]
    by_id = {**collections, **{each.id: each for each in found}}
    psks = {row["device_id"]: rows.PSK.read(row) for row in await read(tables.psks, "devices")}
    reports = {
        row["device_id"]: rows.GATEWAY_METADATA.read(row) for row in await read(tables.gateway_metadata, "devices")
    }
    devices = [
        rows.device_of(row, by_id[row["collection_id"]], psks.get(row["id"]), reports.get(row["id"]))
        for row in await read(tables.devices)
        if row["collection_id"] in by_id
    ]
    known = {each.id: each for each in devices}
    return Contents(
        collections=found,
        devices=devices,
        downstream=[rows.downstream_of(row) for row in await read(tables.downstream)],
        certificates=[rows.CERTIFICATE.read(row) for row in await read(tables.certificates)],
        attachments=[
            rows.attachment_of(row, known.get(row["device_id"])) for row in await read(tables.cellular_sessions)
        ],
        reservations=[rows.RESERVATION.read(row) for row in await read(tables.cellular_reservations)],
        gateways=[
            rows.gateway_of(row, by_id[row["collection_id"]])
            for row in await read(tables.gateways)
            if row["collection_id"] in by_id
        ],
        images=[rows.IMAGE.read(row) for row in await read(tables.firmware_images)],
        blobs=[rows.BLOB.read(row) for row in await read(tables.blobs)],
        outputs=[rows.output_of(row) for row in await read(tables.outputs)],
    )
