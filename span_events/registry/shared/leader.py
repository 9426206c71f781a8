"""
The leader: one of the nodes that share a registry, which does the work that must not be done twice.

The leader holds an advisory lock on a connection of its own. The lock ends with the connection: with the process, or,
by keepalives, some seconds after its host vanished. A leader whose connection is cut may believe for a few seconds more
that it leads; its work must bear that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from sqlalchemy import func, select

from span_events.errors import DatabaseUnavailable
from span_events.log import get_logger
from span_events.registry.database import Database

log = get_logger("registry")

_LOCK: Final = 0x7370_6171
"""Key of the advisory lock."""
_LOOK: Final = 1.0
"""Seconds between attempts to lead, and between looks at the connection of a leader."""
_ANSWER: Final = 5.0
"""Seconds after which a connection that does not answer is given up."""
_KEEPALIVES: Final = ("tcp_keepalives_idle = 2", "tcp_keepalives_interval = 2", "tcp_keepalives_count = 3")


class Leader:
    """The candidacy of this node."""

    def __init__(self, database: Database) -> None:
        self._database = database
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
                attempt, look = select(func.pg_try_advisory_lock(_LOCK)), select(1)
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

    def _change(self, leads: bool) -> None:
        if leads == self.leads:
            return
        self.leads = leads
        log.info("leader_begins" if leads else "leader_ends")
        for notify in self.on_changed:
            notify(leads)
