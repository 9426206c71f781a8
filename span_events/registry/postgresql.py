"""PostgreSQL's side of the registry: the lock of a server, and refusals while the database is silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from span_events.errors import DatabaseUnavailable

LOCK_OF_SERVERS: Final = 0x7370_616E
"""Key of the advisory lock of a server."""
ANSWER_S: Final = 5.0
"""Seconds after which a command without an answer ends with its connection."""
_PAUSE_S: Final = 1.0
"""Seconds from an attempt that met silence to the next one."""

_HINTS: Final = {
    "25006": "This PostgreSQL is a standby, which only reads: let registry.url lead to the primary, or promote it.",
    "53100": "PostgreSQL's disk is full: free space there; changes work again at once.",
    "53300": "PostgreSQL has no connection left: raise its max_connections, 20 for each node.",
    "55P03": "Another node holds the registry's lock, or a row, for more than 4 s: repeat the request.",
}
"""Hints by PostgreSQL's codes of errors (SQLSTATE)."""


def hint_of(cause: BaseException, default: str) -> str:
    """Return the hint for an error of PostgreSQL."""
    return _HINTS.get(str(getattr(cause, "sqlstate", "")), default)


class ServerLock:
    """
    Lock of a database against other servers: an advisory lock on a connection of its own.

    The lock ends with its connection. A server that lost it takes it again before its next write; while another server
    has the lock, the server cannot write.

    Args:
        name: Returns the database's name for errors.
    """

    def __init__(self, name: Callable[[], str]) -> None:
        self._name = name
        self._shared: bool | None = None
        """Form of the lock that this server needs for its writes; None before it was first locked."""
        self._connection: AsyncConnection | None = None
        """Connection that holds the lock."""
        self._driver: Any = None
        """The driver's part of that connection."""

    async def take(self, engine: AsyncEngine, *, shared: bool) -> None:
        """
        Take the lock.

        Args:
            shared: Admit other servers that share the registry, too.

        Raises:
            DatabaseUnavailable: Another server has the lock.
        """
        attempt = func.pg_try_advisory_lock_shared if shared else func.pg_try_advisory_lock
        connection = await engine.connect()
        try:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            if not (await connection.execute(select(attempt(LOCK_OF_SERVERS)))).scalar_one():
                raise self._in_use(shared)
            self._driver = (await connection.get_raw_connection()).driver_connection
        except BaseException:
            await _end(connection)
            raise
        self._connection, self._shared = connection, shared

    async def hold(self, engine: AsyncEngine) -> None:
        """
        Take the lock again if this server had it and lost it.

        Raises:
            DatabaseUnavailable: Another server has the lock now.
        """
        if self._shared is None or (self._connection is not None and not self._driver.is_closed()):
            return
        await self._drop()
        await self.take(engine, shared=self._shared)

    async def check(self) -> None:
        """Drop a connection that does not answer, so that `hold` takes the lock again."""
        if self._connection is not None:
            try:
                await self._connection.execute(select(1))
            except (SQLAlchemyError, OSError):
                await self._drop()

    async def release(self) -> None:
        """Release the lock; this server writes no more."""
        self._shared = None
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection, self._driver = self._connection, None, None
        if connection is not None:
            await _end(connection)

    def _in_use(self, shared: bool) -> DatabaseUnavailable:
        error = DatabaseUnavailable(f"{self._name()} is in use by another server")
        error.hint = (
            "The other server has no bus.url, so it does not share the registry: stop it, or give it one, too."
            if shared
            else "Stop the other server, or give each a database of its own. Several share one only with bus.url."
        )
        return error


async def _end(connection: AsyncConnection) -> None:
    """End a connection, and with it its lock, also if it is broken."""
    with suppress(SQLAlchemyError, OSError):
        await connection.invalidate()  # closed, not pooled
        await connection.close()


class Silence:
    """
    The time while PostgreSQL does not answer: frozen, or cut off by the network.

    One caller at a time waits for an answer then; the others are refused at once, and do not wait for each other.
    """

    def __init__(self) -> None:
        self._fault = ""
        """Reason why callers are refused; empty while PostgreSQL answers."""
        self._next_attempt = 0.0
        self._is_attempted = False

    def begins(self, fault: str) -> None:
        """Note a command without an answer."""
        self._fault = fault
        self._next_attempt = time.monotonic() + _PAUSE_S

    def require_answers(self) -> None:
        """
        Return if a caller may ask PostgreSQL now.

        Raises:
            DatabaseUnavailable: The last attempt met silence, and it is not time for the next.
        """
        if self._fault and (self._is_attempted or time.monotonic() < self._next_attempt):
            raise silent(self._fault)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """
        Ask PostgreSQL in the block; a block that succeeds ends the silence.

        Raises:
            DatabaseUnavailable: The last attempt met silence, and it is not time for the next.
        """
        self.require_answers()
        if not self._fault:
            yield
            return
        self._is_attempted = True
        try:
            yield
            self._fault = ""
        finally:
            self._is_attempted = False


def silent(fault: str) -> DatabaseUnavailable:
    """Return the error of a database that does not answer."""
    error = DatabaseUnavailable(fault)
    error.hint = (
        "PostgreSQL, its machine or the network is stuck: look at them. It is asked once a second, and used again as"
        " soon as it answers."
    )
    return error


def end_silent_connection(context: ExceptionContext) -> None:
    """End a connection on which a command had no answer: waiting for the end of its transaction would be in vain."""
    if isinstance(context.original_exception, TimeoutError) and context.connection is not None:
        context.is_disconnect = True
        driver: Any = context.connection.connection.driver_connection
        driver.terminate()
