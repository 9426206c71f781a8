"""
The store: reads and writes the registry's database.

A write takes its rows from the values before it waits, and `database` keeps the order: a batch
requested before a deletion can never restore the deleted row.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Final, TypeVar

from sqlalchemy import Select, Table, delete, func, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from span_events.errors import StorageUnavailable
from span_events.registry import database, rows, tables
from span_events.registry.accounts import Accounts
from span_events.registry.contents import Changes, Contents, read_contents
from span_events.registry.model import (
    Attachment,
    Blob,
    Certificate,
    Collection,
    Device,
    Downstream,
    Gateway,
    Image,
    Psk,
    Reservation,
    Token,
)
from span_events.registry.outputs import Output
from span_events.registry.shared import activity, cellular, outbox
from span_events.registry.shared.journal import Journal
from span_events.registry.shared.leader import BROKERS, Leader
from span_events.registry.shared.nodes import NodeNumber
from span_events.registry.shared.secrets import SharedSecrets, agrees
from span_events.registry.shared.timers import Timers
from span_events.registry.tables import Row

_TOKENS: Final = select(tables.tokens, func.coalesce(tables.token_ends.c.expires_ms, 0).label("expires_ms")).outerjoin(
    tables.token_ends, tables.token_ends.c.token_id == tables.tokens.c.id
)


def _summary(table: Table) -> Select[tuple[int, int]]:
    return select(func.count(), func.coalesce(func.max(table.c.id), 0)).select_from(table)


_TOKEN_SUMMARY, _LOGIN_SUMMARY = _summary(tables.tokens).subquery(), _summary(tables.logins).subquery()
_FINGERPRINTS: Final = select(_TOKEN_SUMMARY, _LOGIN_SUMMARY).join_from(_TOKEN_SUMMARY, _LOGIN_SUMMARY, true())
"""One statement: each server asks for both several times a second."""

T = TypeVar("T")


class Store:
    """
    The tables of the registry.

    Every method but `__init__` raises `StorageUnavailable` when the database cannot be used.

    Args:
        url: SQLAlchemy URL: ``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://…``.
        shared: Several nodes share the registry, which is in PostgreSQL.
    """

    def __init__(self, url: str, *, shared: bool = False) -> None:
        self._database = database.Database(url)
        self._journal = Journal() if shared else None
        self.is_shared = shared
        self.node = secrets.token_hex(8)
        """Names this process to other nodes."""
        self.number = NodeNumber(self._database, self.node)
        self.leader = Leader(self._database)
        self.broker_reader = Leader(self._database, BROKERS)
        self.timers = Timers(self._database, self.node)
        self.accounts = Accounts(self._database)
        self.metrics, self.health = self._database.metrics, self._database.health
        self.exclusive, self.settle = self._database.exclusive, self._database.settle
        """See `Database`."""
        self.listening, self.notify = self._database.listening, self._database.notify
        self.now = self._database.now

    def secrets(self, key: bytes) -> SharedSecrets:
        """Return the secrets that all nodes have in common, which a key of `read_key` encrypts."""
        return SharedSecrets(self._database, key)

    async def agrees(self, name: str, content: bytes) -> bool:
        """Return whether all nodes have the same of something that is no secret; the first one decides."""
        return await agrees(self._database, name, content)

    async def open(self) -> None:
        """
        Connect; create the tables of an empty database, or migrate those of an older release.

        Raises:
            StorageUnavailable: The database cannot be used, or was written by a newer release.
        """
        await self._database.open()

    async def lock(self) -> None:
        """
        Lock the database against other servers, until `close`.

        Raises:
            StorageUnavailable: Another server has it.
        """
        await self._database.lock(shared=self.is_shared)

    async def close(self) -> None:
        """Finish the writes under way, give the node's number back, and disconnect; closing again does nothing."""
        with suppress(StorageUnavailable):
            await self.number.release()
        await self._database.close()

    async def probe(self) -> None:
        """
        Write without changing anything, and look after the lock of the database.

        Raises:
            StorageUnavailable: The database cannot be written now, or another server has it.
        """
        await self._database.check_lock()
        same = update(tables.about).values(schema=tables.about.c.schema)
        await self._database.write(lambda connection: connection.execute(same))

    async def load(self) -> Contents:
        """Read everything; delete messages to removed devices."""
        orphans = delete(tables.downstream).where(tables.downstream.c.device_id.not_in(select(tables.devices.c.id)))
        async with self._database.connection(write=True, patient=True) as connection:
            await connection.execute(orphans)
        version, contents = await self._read_everything()
        if self._journal is not None:
            self._journal.seen = version
        return contents

    async def _read_everything(self) -> tuple[int, Contents]:
        """Read all rows, and the version that they show."""
        async with self._database.connection(snapshot=True) as connection:
            version = 0 if self._journal is None else await self._journal.latest(connection)
            return version, await read_contents(connection)

    # ---- a registry that several nodes share --------------------------------------------------

    async def changes(self, collections: Mapping[int, Collection]) -> Changes | None:
        """
        Read the changes since the last that `seen` was told of; None if there are none.

        Args:
            collections: Those of the directory, for the devices and gateways in them.
        """
        assert self._journal is not None, "only a shared registry has changes of others"
        async with self._database.connection(snapshot=True) as connection:
            version, changed = await self._journal.since(connection)
            if version == self._journal.seen:
                return None
            if changed is not None:
                contents = await read_contents(connection, changed, collections)
                removed = {kind: keys - contents.ids(kind) for kind, keys in changed.items()}
                return Changes(version, contents, removed)
        return Changes(*await self._read_everything(), None)

    def seen(self, version: int) -> None:
        """Note that the directory shows the changes up to a version."""
        assert self._journal is not None, "only a shared registry has changes of others"
        self._journal.seen = version

    async def read(self, keys: Mapping[str, AbstractSet[int]], collections: Mapping[int, Collection]) -> Contents:
        """Read the rows with some primary keys, by table."""
        async with self._database.connection(snapshot=True) as connection:
            return await read_contents(connection, keys, collections)

    async def put_activity(self, devices: Sequence[Device]) -> None:
        """Write the activity of devices, but not their configuration; removed ones are left out."""
        assert self.is_shared, "others write whole rows"
        changed, reports = _device_rows(devices)
        await self._database.write(lambda connection: activity.put_activity(connection, self.node, changed, reports))

    async def put_reported(self, gateways: Sequence[Gateway], begun: Mapping[int, int]) -> None:
        """Write the reports of gateways about themselves, and tell the others which sessions began, by gateway."""
        assert self.is_shared, "others write whole rows"
        changed = [rows.gateway_row(each) for each in gateways]
        await self._database.write(lambda connection: activity.put_reported(connection, self.node, changed, begun))

    # ---- configuration ------------------------------------------------------------------------

    async def put_collection(self, collection: Collection) -> None:
        """Write a collection, new or changed."""
        await self._put(tables.collections, [rows.collection_row(collection)])

    async def delete_collection(self, collection_id: int) -> None:
        """
        Delete a collection.

        Raises:
            Conflict: The collection still has devices, gateways, firmware images, blobs or outputs.
        """
        await self._delete(tables.collections, [collection_id])

    async def put_devices(self, devices: Sequence[Device]) -> None:
        """
        Write devices, new or changed.

        Raises:
            Conflict: The collection of one of them was removed; none is written.
        """
        work = self._putting_devices(devices)
        if devices:
            await self._change({"devices": [each.id for each in devices]}, work)

    async def delete_device(self, device_id: int) -> None:
        """Delete a device, its PSK, and the messages to it; its certificates stay."""
        first = select(tables.devices.c.id).where(tables.devices.c.id == device_id).with_for_update()
        messages = delete(tables.downstream).where(tables.downstream.c.device_id == device_id)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(first)  # as `put_activity` of other nodes does, or both wait for each other
            await connection.execute(messages)
            await database.delete(connection, tables.psks, [device_id])
            await database.delete(connection, tables.gateway_metadata, [device_id])
            await database.delete(connection, tables.devices, [device_id])

        await self._change({"devices": [device_id]}, work)

    async def put_gateways(self, gateways: Sequence[Gateway]) -> None:
        """
        Write gateways, new or changed.

        Raises:
            Conflict: The collection of one of them was removed; none is written.
        """
        await self._put(tables.gateways, [rows.gateway_row(each) for each in gateways])

    async def delete_gateway(self, gateway_id: int, devices: Sequence[Device]) -> None:
        """Delete a gateway and, at once, write the devices that lose their block; its certificates stay."""
        put_devices = self._putting_devices(devices)

        async def work(connection: AsyncConnection) -> None:
            await put_devices(connection)
            await database.delete(connection, tables.gateways, [gateway_id])

        await self._change({"devices": [each.id for each in devices], "gateways": [gateway_id]}, work)

    async def put_psk(self, device_id: int, psk: Psk) -> None:
        """
        Write the PSK of a device, new or changed.

        Raises:
            Conflict: Another device has its identity, or the device was removed.
        """
        row = rows.psk_row(device_id, psk)
        await self._change({"devices": [device_id]}, lambda connection: database.put(connection, tables.psks, [row]))

    async def delete_psk(self, device_id: int) -> None:
        """Delete the PSK of a device."""
        gone = [device_id]
        await self._change({"devices": gone}, lambda connection: database.delete(connection, tables.psks, gone))

    async def put_certificate(self, certificate: Certificate) -> None:
        """Write a certificate, new or revoked."""
        await self._put(tables.certificates, [rows.CERTIFICATE.write(certificate)])

    async def delete_certificates(self, serials: Sequence[int]) -> None:
        """Delete certificates."""
        await self._delete(tables.certificates, serials)

    async def change_cellular(
        self,
        attachments: Mapping[int, Attachment | None],
        reserved: Sequence[Reservation] = (),
        released: Sequence[Reservation] = (),
    ) -> list[Reservation]:
        """
        Write attachments by id, new or changed, of which None deletes one, and reservations. All or nothing.

        Args:
            released: Reservations to delete, before others are written; nodes that share a registry leave those that
                another subscriber has replaced, or a later one of the same.

        Returns:
            Reservations of other subscribers, through other nodes, whose addresses this node wanted to reserve.
        """
        attached = [rows.attachment_row(each) for each in attachments.values() if each is not None]
        ended = [key for key, each in attachments.items() if each is None]
        new, old = ([rows.reservation_row(each) for each in some] for some in (reserved, released))

        async def work(connection: AsyncConnection) -> list[Row]:
            await database.put(connection, tables.cellular_sessions, attached)
            await database.delete(connection, tables.cellular_sessions, ended)
            if not self.is_shared:
                await database.delete(connection, tables.cellular_reservations, [row["address"] for row in old])
                await database.put(connection, tables.cellular_reservations, new)
                return []
            await cellular.release(connection, old)
            lost = await cellular.reserve(connection, new)
            await cellular.notify(connection, self.node, list(attachments), [row["address"] for row in (*old, *new)])
            return lost

        if not (attachments or reserved or released):
            return []
        return [rows.RESERVATION.read(row) for row in await self._database.write(work)]

    async def cellular(
        self, ids: AbstractSet[int] | None, addresses: AbstractSet[str] | None, devices: Mapping[int, Device]
    ) -> tuple[list[Attachment], list[Reservation]]:
        """
        Read attachments by id and reservations by address; all if None.

        Args:
            devices: Those of the directory.
        """
        async with self._database.connection(snapshot=True) as connection:
            attachments = await database.read(connection, tables.cellular_sessions, ids)
            reservations = await database.read(connection, tables.cellular_reservations, addresses)
        return (
            [rows.attachment_of(row, devices.get(row["device_id"])) for row in attachments],
            [rows.RESERVATION.read(row) for row in reservations],
        )

    async def put_image(self, image: Image) -> None:
        """
        Write a firmware image, new or changed.

        Raises:
            Conflict: Its collection was removed, or has another image with this version or these octets.
        """
        await self._put(tables.firmware_images, [rows.IMAGE.write(image)])

    async def delete_image(self, image_id: int) -> None:
        """Delete a firmware image."""
        await self._delete(tables.firmware_images, [image_id])

    async def put_blob(self, blob: Blob) -> None:
        """
        Write a new blob.

        Raises:
            Conflict: Its collection was removed.
        """
        await self._put(tables.blobs, [rows.BLOB.write(blob)])

    async def delete_blob(self, blob_id: int) -> None:
        """Delete a blob."""
        await self._delete(tables.blobs, [blob_id])

    async def put_output(self, output: Output) -> None:
        """
        Write an output, new or changed.

        Raises:
            Conflict: Its collection was removed.
        """
        await self._put(tables.outputs, [rows.output_row(output)])

    async def delete_output(self, output_id: int) -> None:
        """Delete an output."""
        await self._delete(tables.outputs, [output_id])

    async def put_downstream(self, messages: Sequence[Downstream]) -> None:
        """Write downstream messages, new or changed, of a single node."""
        await self._database.put(tables.downstream, [rows.downstream_row(each) for each in messages])

    async def delete_downstream(self, ids: Sequence[int]) -> None:
        """Delete downstream messages of a single node."""
        await self._database.delete(tables.downstream, ids)

    async def queue_downstream(self, message: Downstream) -> None:
        """Write a new downstream message; other nodes are notified."""
        if not self.is_shared:
            await self.put_downstream([message])
            return
        row = rows.downstream_row(message)
        await self._database.write(lambda connection: outbox.queue(connection, self.node, row))

    async def claim_downstream(self, ids: Sequence[int], begins: Callable[[], None]) -> set[int]:
        """Claim waiting messages for this node, see `outbox.claim`."""
        return await self._database.write(lambda connection: outbox.claim(connection, self.node, ids, begins))

    async def settle_downstream(
        self, messages: Sequence[Downstream], deleted: Sequence[int], released: Sequence[int]
    ) -> None:
        """Write the outcome of claimed messages of a shared registry; other nodes are notified."""
        changed = [rows.downstream_row(each) for each in messages]
        await self._database.write(lambda connection: outbox.settle(connection, self.node, changed, deleted, released))

    async def downstream(self) -> list[Downstream]:
        """Read all downstream messages."""
        async with self._database.connection(snapshot=True) as connection:
            return [rows.downstream_of(row) for row in await database.read(connection, tables.downstream)]

    async def put_token(self, token: Token) -> None:
        """Write a token."""
        row = rows.TOKEN.write(token)
        end = {"token_id": token.id, "expires_ms": row.pop("expires_ms")}

        async def work(connection: AsyncConnection) -> None:
            await database.put(connection, tables.tokens, [row])
            await database.put(connection, tables.token_ends, [end] if token.expires_ms else [])

        await self._database.write(work)

    async def delete_token(self, token_id: int) -> bool:
        """Delete a token; False if there was none."""
        if token_id >> 63:
            return False  # beyond BIGINT: no token has such an id
        gone = delete(tables.tokens).where(tables.tokens.c.id == token_id)
        known = select(tables.tokens.c.id)

        async def work(connection: AsyncConnection) -> bool:
            deleted = (await connection.execute(gone)).rowcount > 0
            for table in (tables.token_ends, tables.token_uses):
                await connection.execute(delete(table).where(table.c.token_id.not_in(known)))
            return deleted

        return await self._database.write(work)

    async def tokens(self) -> list[Token]:
        """Read all tokens, oldest first."""
        async with self._database.connection() as connection:
            found = (await connection.execute(_TOKENS.order_by(tables.tokens.c.id))).mappings().all()
        return [rows.TOKEN.read(row) for row in found]

    async def token(self, digest: str) -> Token | None:
        """Read the token with this digest."""
        wanted = _TOKENS.where(tables.tokens.c.digest == digest)
        async with self._database.connection() as connection:
            row = (await connection.execute(wanted)).mappings().one_or_none()
        return None if row is None else rows.TOKEN.read(row)

    async def token_uses(self) -> dict[int, int]:
        """Read the last use of each token, Unix milliseconds by id."""
        async with self._database.connection() as connection:
            return {row["token_id"]: row["used_ms"] for row in await database.read(connection, tables.token_uses)}

    async def put_token_uses(self, used: Mapping[int, int]) -> None:
        """Write the last use of tokens, Unix milliseconds by id."""
        await self._database.put(tables.token_uses, [{"token_id": key, "used_ms": each} for key, each in used.items()])

    async def fingerprints(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return count and highest id of the tokens, and of the logins: they change with each creation or deletion."""
        async with self._database.connection() as connection:
            tokens, token, logins, login = (await connection.execute(_FINGERPRINTS)).one()
        return (tokens, token), (logins, login)

    async def _put(self, table: Table, changed: Sequence[Row]) -> None:
        """Write rows, new or changed, as a change of the configuration."""
        key = table.columns[0].name
        if changed:
            keys = [row[key] for row in changed]
            await self._change({table.name: keys}, lambda connection: database.put(connection, table, changed))

    async def _delete(self, table: Table, keys: Sequence[int]) -> None:
        """Delete rows, as a change of the configuration."""
        gone = list(keys)
        if gone:
            await self._change({table.name: gone}, lambda connection: database.delete(connection, table, gone))

    async def _change(
        self, changed: Mapping[str, Sequence[int]], work: Callable[[AsyncConnection], Awaitable[None]]
    ) -> None:
        """Write a change of the configuration; other nodes that share the registry see it."""
        journal = self._journal
        if journal is None:
            await self._database.write(work)
            return

        async def journalled(connection: AsyncConnection) -> int:
            version = await journal.append(connection, changed)
            await work(connection)
            return version

        journal.seen = await self._database.write(journalled)  # if this is cancelled, it is read as that of another

    def _putting_devices(self, devices: Sequence[Device]) -> Callable[[AsyncConnection], Awaitable[None]]:
        """Take the rows of devices now; return the statements that write them."""
        changed, reports = _device_rows(devices)

        async def work(connection: AsyncConnection) -> None:
            if self.is_shared:
                await activity.put_devices(connection, changed)
                await activity.put_reports(connection, reports)
            else:
                await database.put(connection, tables.devices, changed)
                await database.put(connection, tables.gateway_metadata, reports)

        return work


def _device_rows(devices: Sequence[Device]) -> tuple[list[Row], list[Row]]:
    """Return the rows of devices, and of what gateways reported about them."""
    return [rows.device_row(each) for each in devices], [
        rows.gateway_metadata_row(each) for each in devices if each.gateway.last_update
    ]
