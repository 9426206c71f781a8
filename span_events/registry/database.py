"""
The registry's database: SQLite or PostgreSQL through SQLAlchemy.

Writes are serialized in the order of their calls. A write that has returned is on the disk; cancelling its caller
does not stop it.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import (
    ARRAY,
    URL,
    Column,
    ColumnElement,
    Executable,
    Table,
    any_,
    bindparam,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from span_events.errors import Conflict, DatabaseUnavailable, StorageUnavailable
from span_events.metrics import Histogram, HistogramMetric, Measure, Metric
from span_events.registry.migrations import schema
from span_events.registry.postgresql import ANSWER_S, ServerLock, Silence, end_silent_connection, hint_of, silent
from span_events.registry.tables import Row

T = TypeVar("T")
K = TypeVar("K", int, str)

_BATCH: Final = 250
"""Rows given to the driver at once; between batches the event loop gets its turn."""
_READ: Final = 1_000
"""Rows that one statement reads: if it is not answered soon, the connection is silent."""
_BUSY_MS: Final = 5000
"""Milliseconds that SQLite waits for a writer in another process."""
_PATIENCE: Final = 100
"""Attempts to switch a new file to write-ahead logging while other processes open it."""
_PAUSE: Final = 0.02
"""Seconds between two such tries."""


_EXCLUSIVE: Final = 0x7370_616F
"""Key of the advisory lock of changes by nodes that share the registry."""
_CONNECT_S: Final = 5
"""Seconds that a connection to PostgreSQL may take."""
_LOCK_TIMEOUT: Final = "4s"
"""Time that PostgreSQL lets a command wait for a row or the registry's lock; then it answers, before `ANSWER_S`."""
_IDLE_IN_TRANSACTION: Final = "5s"
"""Time after which PostgreSQL ends the transaction of a node that froze, or lost the network, and frees its rows."""
_SLOW_S: Final = 3.0
"""Seconds that a write may take, its wait for those before it included, until health tells of it."""
_BEAT_S: Final = 2.0
"""Seconds between questions to a connection that listens."""
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""SQLite's codes for a file that is torn or no database."""


class Database:
    """
    A connection to the database, and the order of its writes.

    Every method but `__init__` raises `StorageUnavailable` when the database cannot be used.

    Args:
        url: SQLAlchemy URL: ``sqlite+aiosqlite:///PATH`` or ``postgresql+asyncpg://…``.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine: AsyncEngine | None = None
        self._patient_engine: AsyncEngine | None = None
        self._order = asyncio.Lock()
        self._writes: dict[asyncio.Task[Any], float] = {}  # under way or waiting, with the time of their call
        self.durations = Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
        """Seconds of the writes that succeeded, the wait for those before included."""
        self.failures = 0
        """Number of writes that failed."""
        self._lock = ServerLock(lambda: self.name)
        self._silence = Silence()

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        return [
            HistogramMetric(
                "registry_write_duration_seconds",
                "Time of the registry's writes, their wait for each other included.",
                lambda: self.durations,
            ),
            Metric("registry_write_failures", "Writes that the registry refused.", "counter", lambda: self.failures),
            Metric("registry_waiting_writes", "Writes under way or waiting.", "gauge", lambda: len(self._writes)),
        ]

    async def open(self, prepare: Callable[[AsyncConnection, str], Awaitable[None]] = schema.prepare) -> None:
        """
        Connect; create the tables, or migrate those of an older release; refuse those of a newer one.

        Args:
            prepare: Does so; another function of `schema` may ask for less.
        """
        self._engine = self._patient_engine = self._make_engine()
        if self._engine.dialect.name == "postgresql":
            self._patient_engine = self._make_engine(patient=True)
        try:
            if self._engine.dialect.name == "sqlite":
                await self._log_ahead()
            async with self.connection(write=True, patient=True) as connection:
                await prepare(connection, self.name)
        except BaseException:
            await self.close()
            raise

    async def lock(self, *, shared: bool = False) -> None:
        """
        Lock a PostgreSQL database against other servers until `close`; SQLite's is locked with its data directory.

        A single server keeps the registry in memory and writes whole rows: two of them would undo each other's changes.
        From now on every write needs the lock; if it was lost, as PostgreSQL was restarted, the write takes it again.

        Args:
            shared: Admit other servers that share the registry, too.
        """
        assert self._engine is not None, "open comes first"
        if self._engine.dialect.name == "postgresql":
            with self._translated():
                await self._lock.take(self._engine, shared=shared)

    async def check_lock(self) -> None:
        """Notice that the connection of the lock was lost silently; the next write takes the lock again."""
        async with self._order:
            await self._lock.check()

    async def close(self) -> None:
        """Finish the writes under way and disconnect; closing again does nothing."""
        await self.settle()
        await self._lock.release()
        engines = self._engine, self._patient_engine
        self._engine = self._patient_engine = None
        for engine in engines:
            if engine is not None:
                await engine.dispose()

    async def put(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows, new or changed, in a transaction of their own."""
        if rows:
            await self.write(lambda connection: put(connection, table, rows))

    async def delete(self, table: Table, keys: Sequence[int]) -> None:
        """Delete rows by primary key, in a transaction of their own."""
        gone = list(keys)
        if gone:
            await self.write(lambda connection: delete(connection, table, gone))

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Do all of ``work`` or nothing of it, after the writes that were asked for before."""
        time = asyncio.get_running_loop().time
        began = time()

        async def transaction() -> T:
            try:
                self._silence.require_answers()
                async with self._order, self.connection(write=True) as connection:
                    result = await work(connection)
            except Exception:
                self.failures += 1
                raise
            self.durations.observe(time() - began)
            return result

        task = asyncio.ensure_future(transaction())
        self._writes[task] = began
        task.add_done_callback(self._writes.pop)
        return await asyncio.shield(task)  # a driver that is cancelled inside a commit leaves its outcome open

    def health(self) -> str:
        """Return ``ok``, or a sentence about writes that take long."""
        oldest = min(self._writes.values(), default=None)
        waited = 0.0 if oldest is None else asyncio.get_running_loop().time() - oldest
        return f"degraded: {self.name} is slow: a change has waited {waited:.0f} s" if waited > _SLOW_S else "ok"

    async def settle(self) -> None:
        """Wait until the writes under way are over."""
        if self._writes:
            await asyncio.wait(self._writes)

    @asynccontextmanager
    async def connection(
        self, *, write: bool = False, snapshot: bool = False, patient: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """
        Connect for as long as the block lasts.

        Args:
            write: Commit at the end; needs the lock, if there is one.
            snapshot: All reads see one moment.
            patient: A command may take long, as it migrates or copies a registry or waits for other nodes.
        """
        engine = self._patient_engine if patient else self._engine
        if engine is None:
            raise StorageUnavailable(f"{self.name} is not open")
        with self._translated():
            async with AsyncExitStack() as stack:
                with self._silence.attempt():
                    if write:
                        await self._lock.hold(engine)
                    connection = await stack.enter_async_context(engine.begin() if write else engine.connect())
                if snapshot and connection.dialect.name == "postgresql":
                    await connection.execution_options(isolation_level="REPEATABLE READ")
                    await may_pause(connection)  # it only reads, and thousands of rows become objects in between
                elif snapshot:
                    await connection.exec_driver_sql("BEGIN")  # the driver would begin with the first write
                yield connection

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """
        Hold the lock of all nodes that share the registry, on a connection of its own.

        PostgreSQL releases it with the connection, and takes it from a node that froze.
        """
        async with self.connection() as connection:
            await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '30s'")
            await connection.execute(select(func.pg_advisory_xact_lock(_EXCLUSIVE)))
            yield

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """Connect with a session that ends with the block; its statements are committed one by one."""
        async with self.connection() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            try:
                yield connection
            finally:
                await connection.invalidate()  # closed, not pooled

    @asynccontextmanager
    async def listening(
        self, handlers: Mapping[str, Callable[[str], None]], lost: Callable[[], None]
    ) -> AsyncIterator[None]:
        """
        Call a handler with the payload of each notification of PostgreSQL, by channel.

        Args:
            lost: Called when the connection ends, or answers no more.
        """
        async with self.session() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            try:
                driver.add_termination_listener(lambda _: lost())
                for channel, handle in handlers.items():
                    await driver.add_listener(channel, lambda *told, handle=handle: handle(told[3]))
            except TimeoutError:
                raise
            except Exception as exc:  # the driver's own: SQLAlchemy does not translate them here
                error = DatabaseUnavailable(f"{self.name} cannot be listened to: {exc}")
                error.hint = hint_of(exc, error.hint)
                raise error from exc
            beat = asyncio.create_task(_beat(driver, lost))
            try:
                yield
            finally:
                beat.cancel()
                await asyncio.gather(beat, return_exceptions=True)

    async def notify(self, channel: str) -> None:
        """Send NOTIFY on a channel, over a connection that does not queue behind writes."""
        async with self.connection() as connection:
            await connection.execute(select(func.pg_notify(channel, "")))
            await connection.commit()

    async def now(self) -> float:
        """Return PostgreSQL's time, seconds since 1970."""
        async with self.connection() as connection:
            return float((await connection.execute(select(func.extract("epoch", func.clock_timestamp())))).scalar_one())

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
            if isinstance(cause, TimeoutError):
                fault = f"{self.name} does not answer"
                self._silence.begins(fault)
                raise silent(fault) from exc
            is_file = self._url.startswith("sqlite")
            kind = StorageUnavailable if is_file else DatabaseUnavailable
            error = kind(f"{self.name} cannot be used: {cause}")
            if getattr(cause, "sqlite_errorcode", None) in _DAMAGED:
                error.hint = "The file is damaged: restore it from a backup, with its -wal file if that has one."
            error.hint = hint_of(cause, error.hint)
            raise error from exc

    async def _log_ahead(self) -> None:
        """Let readers and the command line go on while another process writes; the file remembers this."""
        for patience in range(_PATIENCE, -1, -1):
            try:
                async with self.connection() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
            except StorageUnavailable as exc:
                # Processes that do this at the same moment get SQLITE_BUSY at once, whatever busy_timeout says.
                if not patience or "locked" not in str(exc):
                    raise
                await asyncio.sleep(_PAUSE)

    def _make_engine(self, *, patient: bool = False) -> AsyncEngine:
        with self._translated():
            try:
                url = make_url(self._url)
                if url.get_backend_name() == "sqlite":
                    _prepare_file(url.database)
                engine = create_async_engine(
                    url,
                    **_options(url, patient=patient),
                    json_serializer=_json,
                    json_deserializer=orjson.loads,
                    hide_parameters=True,  # errors and tracebacks show statements, but no keys or payloads
                )
            except ArgumentError as exc:  # its text may hold the password
                raise StorageUnavailable("registry.url is not an SQLAlchemy URL of a database that is known") from exc
            except ImportError as exc:
                error = StorageUnavailable(f"registry.url: {self.name} needs a driver: {exc}")
                error.hint = "Install the driver: pip install 'span-events[postgresql]'."
                raise error from exc
        if engine.dialect.name == "sqlite":
            event.listen(engine.sync_engine, "connect", _prepare_connection)
        else:
            event.listen(engine.sync_engine, "handle_error", end_silent_connection)
        return engine

    @property
    def name(self) -> str:
        """Name of the database for people, without its password."""
        try:
            url = make_url(self._url)
        except ArgumentError:
            return "The registry"
        return f"The registry {url.database if url.get_backend_name() == 'sqlite' else url.render_as_string()}"


async def _beat(driver: Any, lost: Callable[[], None]) -> None:
    """Ask a connection of PostgreSQL that else only listens, until it does not answer: a cut network tells nothing."""
    try:
        while True:
            await asyncio.sleep(_BEAT_S)
            await driver.execute("SELECT")
    except Exception:  # the driver's own, of many kinds
        lost()


async def put(connection: AsyncConnection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows, new or changed; columns that the rows lack stay as they are."""
    if not rows:
        return
    await execute_many(connection, _upsert(connection.dialect.name, table, tuple(rows[0])), rows)


async def delete(connection: AsyncConnection, table: Table, keys: Sequence[int | str]) -> None:
    """Delete rows by primary key."""
    await execute_many(connection, _deletion(table), [{"gone": each} for each in keys])


async def execute_many(connection: AsyncConnection, statement: Executable, rows: Sequence[Row]) -> None:
    """Execute a statement for each row, in batches: each is answered soon."""
    for start in range(0, len(rows), _BATCH):
        await connection.execute(statement, rows[start : start + _BATCH])


async def read(connection: AsyncConnection, table: Table, keys: Collection[K] | None = None) -> Sequence[RowMapping]:
    """Read all rows by primary key, or those of a table in PostgreSQL with some primary keys."""
    key = table.columns[0]
    wanted = select(table).order_by(key)
    found: list[RowMapping] = []
    if keys is None:
        page = wanted.limit(_READ)
        while rows := (await connection.execute(page)).mappings().all():
            found += rows
            page = wanted.where(key > rows[-1][key]).limit(_READ)
        return found
    ordered = sorted(keys)
    for start in range(0, len(ordered), _READ):
        some = wanted.where(among(key, ordered[start : start + _READ]))
        found += (await connection.execute(some)).mappings().all()
    return found


def among(column: Column[T], values: Collection[T]) -> ColumnElement[bool]:
    """Return the condition that a column has one of any number of values: an array, as PostgreSQL knows it."""
    return column == any_(bindparam(None, list(values), type_=ARRAY(column.type)))


@cache
def _upsert(dialect: str, table: Table, names: tuple[str, ...]) -> Any:
    """Return an upsert statement; cached, since building it costs more than executing it."""
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement = make(table)
    key = table.columns[0]
    return statement.on_conflict_do_update(
        index_elements=[key], set_={each: statement.excluded[each] for each in names if each != key.name}
    )


@cache
def _deletion(table: Table) -> Any:
    return delete_from(table).where(table.columns[0] == bindparam("gone"))


async def may_pause(connection: AsyncConnection) -> None:
    """Let a transaction of PostgreSQL be idle for longer than `_IDLE_IN_TRANSACTION`."""
    await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def _options(url: URL, *, patient: bool) -> dict[str, Any]:
    """
    Return what PostgreSQL's connections need: a test before each use, as the server may have been restarted.

    Args:
        patient: Connections for commands that take long; few, and not kept.
    """
    if url.get_backend_name() != "postgresql":
        return {}
    if patient:
        no_limits = {"lock_timeout": "0", "idle_in_transaction_session_timeout": "0"}  # those of the database, if any
        return {"poolclass": NullPool, "connect_args": {"timeout": _CONNECT_S, "server_settings": no_limits}}
    limits = {"lock_timeout": _LOCK_TIMEOUT, "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION}
    arguments = {"timeout": _CONNECT_S, "command_timeout": ANSWER_S, "server_settings": limits}
    return {"pool_pre_ping": True, "pool_timeout": ANSWER_S, "connect_args": arguments}


def _json(value: object) -> str:
    return orjson.dumps(value).decode()


def _prepare_file(path: str | None) -> None:
    """
    Create the file for its owner alone; SQLite gives its companions (-wal, -shm) the same mode.

    An existing file is not opened: closing it would release the locks that other connections of this
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
        "synchronous = FULL",  # changes confirmed by the API survive a power cut
        "foreign_keys = ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
