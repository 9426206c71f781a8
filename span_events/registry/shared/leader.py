"""
The leader: one of the nodes that share a registry, which does the work that must not be done twice.

There are two candidacies: every node is a candidate for the timers, and the device nodes are for the brokers of
ChirpStack servers, which only they read.

The leader holds an advisory lock on a connection of its own. The lock ends with the connection: with the process, or,
by keepalives, some seconds after its host vanished. A leader whose connection is cut may believe for a few seconds more
that it leads; its work must bear that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sqlalchemy import func, select

from span_events.errors import DatabaseUnavailable
from span_events.log import get_logger
from span_events.registry.database import Database

log = get_logger("registry")

TIMERS: Final = 0x7370_6171
BROKERS: Final = 0x7370_6173
"""Keys of the advisory locks."""
_LOOK: Final = 1.0
"""Seconds between attempts to lead, and between looks at the connection of a leader."""
_ANSWER: Final = 5.0
"""Seconds after which a connection that does not answer is given up."""
_KEEPALIVES: Final = ("tcp_keepalives_idle = 2", "tcp_keepalives_interval = 2", "tcp_keepalives_count = 3")


class Leader:
    """
    A candidacy of this node.

    Args:
        lock: Key of the advisory lock that the leader holds.
    """

    def __init__(self, database: Database, lock: int = TIMERS) -> None:
        self._database = database
        self._lock = lock
        self.leads = False
        """True while this node is the leader."""
        self.on_changed: list[Callable[[bool], None]] = []
        """Called with `leads` after it changed; must not raise."""

    async def campaign(self, ready: Callable[[], None] = lambda: None) -> None:
        """
        Become the leader as soon as no other node leads, until the connection is lost.

        Args:
            ready: Called when it is known who leads.

        Raises:
            StorageUnavailable: The connection was lost; this node leads no more.
        """
        async with self._database.session() as connection:
            try:
                for each in _KEEPALIVES:
                    await connection.exec_driver_sql(f"SET {each}")
                attempt, look = select(func.pg_try_advisory_lock(self._lock)), select(1)
                while True:
                    async with asyncio.timeout(_ANSWER):
                        found = (await connection.execute(look if self.leads else attempt)).scalar_one()
                    self._change(bool(found))
                    ready()
                    await asyncio.sleep(_LOOK)
            except TimeoutError as exc:
                raise DatabaseUnavailable(f"PostgreSQL did not answer within {_ANSWER:.0f} s") from exc
            finally:
                self._change(False)

    async def while_leading(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work whenever this node leads, until cancelled; the work is cancelled when the node leads no more."""
        changed = asyncio.Event()
        self.on_changed.append(lambda _: changed.set())
        while True:
            changed.clear()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(work()) if self.leads else None
                await changed.wait()
                if task is not None:
                    task.cancel()

    def _change(self, leads: bool) -> None:
        if leads == self.leads:
            return
        self.leads = leads
        log.info("leader_begins" if leads else "leader_ends", of="timers" if self._lock == TIMERS else "brokers")
        for notify in self.on_changed:
            notify(leads)
