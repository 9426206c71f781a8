"""
The store: what survives a restart, in SQLite or PostgreSQL through SQLAlchemy.

Writes happen one after the other, in the order in which they were asked for, and each takes its
rows from the values before it waits for anything: a batch that was asked for before a deletion can
never bring the deleted thing back. A write that has returned is on the disk; cancelling who asked for
it does not stop it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import Table, bindparam, delete, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.schema import CreateIndex, CreateTable

from span_events.errors import Conflict, StorageUnavailable
from span_events.registry import rows, tables
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
from span_events.registry.tables import Row

T = TypeVar("T")
K = TypeVar("K", int, str)

_BATCH: Final = 250
"""Rows given to the driver at once; between batches the event loop gets its turn."""
_BUSY_MS: Final = 5000
"""How long SQLite waits for a writer in another process, milliseconds."""
_PATIENCE: Final = 100
"""How often a new file is asked for its write-ahead log while others open it too."""
_PAUSE: Final = 0.02
"""Seconds between two such tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Everything that a process needs at its start."""

    collections: list[Collection]
    devices: list[Device]
    downstream: list[Downstream]
    certificates: list[Certificate]
    attachments: list[Attachment]
    gateways: list[Gateway]
    images: list[Image]
    blobs: list[Blob]
    reservations: list[Reservation]


class Store:
    """
    The registry's database.

    Every method but `__init__` raises `StorageUnavailable` when the database cannot be used.

    Args:
        url: SQLAlchemy URL: ``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://…``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: AsyncEngine | None = None
        self._order = asyncio.Lock()
        self._writes: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """
        Connect, and create the tables that are missing: all of them, or those that came after an older release.

        Raises:
            StorageUnavailable: The database cannot be used, or was written by a newer release.
        """
        self._engine = self._make_engine()
        try:
            if self._engine.dialect.name == "sqlite":
                await self._log_ahead()
            async with self._connection(write=True) as connection:
                await self._check_schema(connection)
                for table in tables.metadata.sorted_tables:
                    await connection.execute(CreateTable(table, if_not_exists=True))
                    for index in table.indexes:
                        await connection.execute(CreateIndex(index, if_not_exists=True))
                about = _upsert(connection.dialect.name, tables.about, fixed=True)
                await connection.execute(about, {"schema": tables.SCHEMA})
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish the writes under way and disconnect; closing again does nothing."""
        if self._writes:
            await asyncio.wait(self._writes)
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.dispose()

    async def load(self) -> Contents:
        """Read everything; messages to devices that are gone are deleted."""
        orphans = delete(tables.downstream).where(tables.downstream.c.device_id.not_in(select(tables.devices.c.id)))
        await self._write(lambda connection: connection.execute(orphans))
        async with self._connection() as connection:
            collections = [rows.collection_of(row) for row in await _rows(connection, tables.collections)]
            by_id = {each.id: each for each in collections}
            psks = {row["device_id"]: rows.PSK.read(row) for row in await _rows(connection, tables.psks)}
            told = {
                row["device_id"]: rows.GATEWAY_METADATA.read(row)
                for row in await _rows(connection, tables.gateway_metadata)
            }
            devices = [
                rows.device_of(row, by_id[row["collection_id"]], psks.get(row["id"]), told.get(row["id"]))
                for row in await _rows(connection, tables.devices)
            ]
            gateways = [
                rows.gateway_of(row, by_id[row["collection_id"]]) for row in await _rows(connection, tables.gateways)
            ]
            certificates = [rows.CERTIFICATE.read(row) for row in await _rows(connection, tables.certificates)]
            downstream = [rows.downstream_of(row) for row in await _rows(connection, tables.downstream)]
            images = [rows.IMAGE.read(row) for row in await _rows(connection, tables.firmware_images)]
            blobs = [rows.BLOB.read(row) for row in await _rows(connection, tables.blobs)]
            known = {each.id: each for each in devices}
            attachments = [
                rows.attachment_of(row, known.get(row["device_id"]))
                for row in await _rows(connection, tables.cellular_sessions)
            ]
            reservations = [rows.RESERVATION.read(row) for row in await _rows(connection, tables.cellular_reservations)]
        return Contents(
            collections=collections,
            devices=devices,
            downstream=downstream,
            certificates=certificates,
            attachments=attachments,
            reservations=reservations,
            gateways=gateways,
            images=images,
            blobs=blobs,
        )

    async def put_collection(self, collection: Collection) -> None:
        """Write a collection, new or changed."""
        await self._put(tables.collections, [rows.collection_row(collection)])

    async def delete_collection(self, collection_id: int) -> None:
        """
        Delete a collection.

        Raises:
            Conflict: It still has devices, gateways, firmware images or blobs.
        """
        await self._write(lambda connection: _delete(connection, tables.collections, [collection_id]))

    async def put_devices(self, devices: Sequence[Device]) -> None:
        """
        Write devices, new or changed.

        Raises:
            Conflict: The collection of one of them is gone; none is written.
        """
        work = self._putting_devices(devices)
        if devices:
            await self._write(work)

    async def delete_device(self, device_id: int) -> None:
        """Delete a device, its PSK, and the messages to it; its certificates stay."""
        messages = delete(tables.downstream).where(tables.downstream.c.device_id == device_id)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(messages)
            await _delete(connection, tables.psks, [device_id])
            await _delete(connection, tables.gateway_metadata, [device_id])
            await _delete(connection, tables.devices, [device_id])

        await self._write(work)

    async def put_gateways(self, gateways: Sequence[Gateway]) -> None:
        """
        Write gateways, new or changed.

        Raises:
            Conflict: The collection of one of them is gone; none is written.
        """
        await self._put(tables.gateways, [rows.gateway_row(each) for each in gateways])

    async def delete_gateway(self, gateway_id: int, devices: Sequence[Device]) -> None:
        """Delete a gateway and, at once, write the devices that lose their block; its certificates stay."""
        put_devices = self._putting_devices(devices)

        async def work(connection: AsyncConnection) -> None:
            await put_devices(connection)
            await _delete(connection, tables.gateways, [gateway_id])

        await self._write(work)

    async def put_psk(self, device_id: int, psk: Psk) -> None:
        """
        Write the PSK of a device, new or changed.

        Raises:
            Conflict: Another device has its identity, or the device is gone.
        """
        await self._put(tables.psks, [rows.psk_row(device_id, psk)])

    async def delete_psk(self, device_id: int) -> None:
        """Delete the PSK of a device."""
        await self._write(lambda connection: _delete(connection, tables.psks, [device_id]))

    async def put_certificate(self, certificate: Certificate) -> None:
        """Write a certificate, new or revoked."""
        await self._put(tables.certificates, [rows.CERTIFICATE.write(certificate)])

    async def delete_certificates(self, serials: Sequence[int]) -> None:
        """Delete certificates."""
        gone = list(serials)
        if gone:
            await self._write(lambda connection: _delete(connection, tables.certificates, gone))

    async def change_cellular(
        self, attachments: Mapping[int, Attachment | None], reservations: Mapping[str, Reservation | None]
    ) -> None:
        """Write attachments by id and reservations by address, new or changed; None deletes one. All or nothing."""
        changes = (
            (tables.cellular_sessions, *_sorted_out(attachments, rows.attachment_row)),
            (tables.cellular_reservations, *_sorted_out(reservations, rows.reservation_row)),
        )

        async def work(connection: AsyncConnection) -> None:
            for table, changed, gone in changes:
                await self._execute(connection, table, changed)
                for start in range(0, len(gone), _BATCH):
                    await _delete(connection, table, gone[start : start + _BATCH])

        if attachments or reservations:
            await self._write(work)

    async def put_image(self, image: Image) -> None:
        """
        Write a firmware image, new or changed.

        Raises:
            Conflict: Its collection is gone, or has another one with this version or these octets.
        """
        await self._put(tables.firmware_images, [rows.IMAGE.write(image)])

    async def delete_image(self, image_id: int) -> None:
        """Delete a firmware image."""
        await self._write(lambda connection: _delete(connection, tables.firmware_images, [image_id]))

    async def put_blob(self, blob: Blob) -> None:
        """
        Write a new blob.

        Raises:
            Conflict: Its collection is gone.
        """
        await self._put(tables.blobs, [rows.BLOB.write(blob)])

    async def delete_blob(self, blob_id: int) -> None:
        """Delete a blob."""
        await self._write(lambda connection: _delete(connection, tables.blobs, [blob_id]))

    async def put_downstream(self, messages: Sequence[Downstream]) -> None:
        """Write downstream messages, new or changed."""
        await self._put(tables.downstream, [rows.downstream_row(each) for each in messages])

    async def delete_downstream(self, ids: Sequence[int]) -> None:
        """Delete downstream messages."""
        gone = list(ids)
        if gone:
            await self._write(lambda connection: _delete(connection, tables.downstream, gone))

    async def put_token(self, token: Token) -> None:
        """Write a token."""
        await self._put(tables.tokens, [rows.TOKEN.write(token)])

    async def delete_token(self, token_id: int) -> bool:
        """Delete a token; False if there was none."""
        if token_id >> 63:
            return False  # over what a BIGINT holds: no token has such an id
        gone = delete(tables.tokens).where(tables.tokens.c.id == token_id)
        return (await self._write(lambda connection: connection.execute(gone))).rowcount > 0

    async def tokens(self) -> list[Token]:
        """Read all tokens, oldest first."""
        async with self._connection() as connection:
            return [rows.TOKEN.read(row) for row in await _rows(connection, tables.tokens)]

    async def token(self, digest: str) -> Token | None:
        """Read the token with this digest."""
        wanted = select(tables.tokens).where(tables.tokens.c.digest == digest)
        async with self._connection() as connection:
            row = (await connection.execute(wanted)).mappings().one_or_none()
        return None if row is None else rows.TOKEN.read(row)

    async def token_fingerprint(self) -> tuple[int, int]:
        """Return the count and the highest id of the tokens: another one after each creation or deletion."""
        summary = select(func.count(), func.coalesce(func.max(tables.tokens.c.id), 0)).select_from(tables.tokens)
        async with self._connection() as connection:
            count, highest = (await connection.execute(summary)).one()
        return count, highest

    async def _check_schema(self, connection: AsyncConnection) -> None:
        """Refuse, before anything is changed, what a newer release wrote."""
        await connection.execute(CreateTable(tables.about, if_not_exists=True))
        found = (await connection.execute(select(func.max(tables.about.c.schema)))).scalar_one()
        if found is not None and found > tables.SCHEMA:
            raise StorageUnavailable(
                f"{self._name()} has schema {found}, this release knows {tables.SCHEMA}: a newer release wrote it"
            )

    def _putting_devices(self, devices: Sequence[Device]) -> Callable[[AsyncConnection], Awaitable[None]]:
        """Take the rows of devices now; return what writes them."""
        changed = [rows.device_row(each) for each in devices]
        told = [rows.gateway_metadata_row(each) for each in devices if each.gateway.last_update]

        async def work(connection: AsyncConnection) -> None:
            await self._execute(connection, tables.devices, changed)
            await self._execute(connection, tables.gateway_metadata, told)

        return work

    async def _put(self, table: Table, changed: list[Row]) -> None:
        if changed:
            await self._write(lambda connection: self._execute(connection, table, changed))

    async def _execute(self, connection: AsyncConnection, table: Table, changed: list[Row]) -> None:
        statement = _upsert(connection.dialect.name, table)
        for start in range(0, len(changed), _BATCH):
            await connection.execute(statement, changed[start : start + _BATCH])

    async def _write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do all of ``work`` or nothing of it, after the writes that were asked for before."""

        async def transaction() -> T:
            async with self._order, self._connection(write=True) as connection:
                return await work(connection)

        task = asyncio.ensure_future(transaction())
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)  # a driver that is cancelled inside a commit leaves its outcome open

    @asynccontextmanager
    async def _connection(self, *, write: bool = False) -> AsyncIterator[AsyncConnection]:
        if self._engine is None:
            raise StorageUnavailable(f"{self._name()} is not open")
        with self._translated():
            async with self._engine.begin() if write else self._engine.connect() as connection:
                yield connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IntegrityError as exc:
            raise Conflict(
                "The registry refuses: a device, gateway, image or blob needs its collection, so a collection that has"
                " one stays; a PSK needs its device, and an identity that no other device has; and no two images of a"
                " collection have the same version or octets",
                hint="Something else changed at the same moment; look again and repeat the request.",
            ) from exc
        except (SQLAlchemyError, sqlite3.Error, OSError) as exc:
            cause = getattr(exc, "orig", None) or exc
            raise StorageUnavailable(f"{self._name()} cannot be used: {cause}") from exc

    async def _log_ahead(self) -> None:
        """Let readers and the command line go on while another process writes; the file remembers this."""
        for patience in range(_PATIENCE, -1, -1):
            try:
                async with self._connection() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
            except StorageUnavailable as exc:
                # Processes that do this at the same moment get SQLITE_BUSY at once, whatever busy_timeout says.
                if not patience or "locked" not in str(exc):
                    raise
                await asyncio.sleep(_PAUSE)

    def _make_engine(self) -> AsyncEngine:
        with self._translated():
            try:
                url = make_url(self._url)
                if url.get_backend_name() == "sqlite":
                    _prepare_file(url.database)
                engine = create_async_engine(
                    url,
                    json_serializer=_json,
                    json_deserializer=orjson.loads,
                    hide_parameters=True,  # errors and tracebacks show statements, but no keys or payloads
                )
            except ArgumentError as exc:  # its text may hold the password
                raise StorageUnavailable("registry.url is not an SQLAlchemy URL of a database that is known") from exc
            except ImportError as exc:
                raise StorageUnavailable(f"registry.url: {self._name()} needs a driver: {exc}") from exc
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _prepare_connection)
        return engine

    def _name(self) -> str:
        """Name the database without its password."""
        try:
            url = make_url(self._url)
        except ArgumentError:
            return "The registry"
        return f"The registry {url.database if url.get_backend_name() == 'sqlite' else url.render_as_string()}"


@cache
def _upsert(dialect: str, table: Table, *, fixed: bool = False) -> Any:
    """Insert rows, or overwrite what is there (unless it is ``fixed``). To make this costs more than to write a row."""
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(table)
    if fixed:
        return statement.on_conflict_do_nothing()
    key, *others = table.columns
    return statement.on_conflict_do_update(
        index_elements=[key], set_={each.name: statement.excluded[each.name] for each in others}
    )


async def _rows(connection: AsyncConnection, table: Table) -> Sequence[RowMapping]:
    return (await connection.execute(select(table).order_by(table.columns[0]))).mappings().all()


def _sorted_out(changes: Mapping[K, T | None], row_of: Callable[[T], Row]) -> tuple[list[Row], list[K]]:
    """Tell what is to be written from what is to be deleted."""
    changed = [row_of(each) for each in changes.values() if each is not None]
    return changed, [key for key, each in changes.items() if each is None]


async def _delete(connection: AsyncConnection, table: Table, ids: Sequence[int | str]) -> None:
    statement = delete(table).where(table.columns[0] == bindparam("gone"))
    await connection.execute(statement, [{"gone": each} for each in ids])


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _prepare_file(path: str | None) -> None:
    """
    Create the file for its owner alone; SQLite gives its companions (-wal, -shm) the same mode.

    A file that is there is not opened: closing it would end the locks that other connections of this
    process hold on it (POSIX, fcntl).
    """
    if not path or path == ":memory:":
        return
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"there is no directory {Path(path).parent}")
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise IsADirectoryError("it is not a file") from None
        if mode & 0o077:
            os.chmod(path, 0o600)
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError("this user may not read and write it") from None


def _prepare_connection(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "synchronous = FULL",  # what the API has confirmed survives a power cut
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
