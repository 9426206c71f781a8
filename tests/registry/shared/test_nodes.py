"""Numbers of nodes: leased in PostgreSQL, one at a time, and at rest before they are leased again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import make_url

from span_events.app.wall_clock import compare
from span_events.errors import StorageUnavailable
from span_events.ids import NODES
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer


class Leases:
    """A registry whose leases a test may age."""

    def __init__(self, server: PostgresqlServer, url: str) -> None:
        self._server = server
        self._url = url
        self._table = f"{make_url(url).username}.nodes"
        self.stores: list[Store] = []

    async def open(self) -> Store:
        """Open the registry as another node does."""
        store = Store(self._url, shared=True)
        await store.open()
        self.stores.append(store)
        return store

    async def execute(self, statement: str) -> None:
        """Execute a statement on the table of numbers."""
        await self._server.execute(statement.format(nodes=self._table))

    async def age(self, interval: str) -> None:
        """Move all leases into the past."""
        ends = (f"{each} = {each} - interval '{interval}'" for each in ("leased_until", "rests_until"))
        await self.execute(f"UPDATE {{nodes}} SET {', '.join(ends)}")


@pytest.fixture
async def leases(postgresql: PostgresqlServer) -> AsyncIterator[Leases]:
    """A registry without nodes."""
    opened = Leases(postgresql, await postgresql.new_schema())
    yield opened
    await asyncio.gather(*(each.close() for each in opened.stores))


async def test_the_time_of_postgresql_is_that_of_its_machine(leases: Leases) -> None:
    """Here both are one machine."""
    store = await leases.open()

    compare(time.time(), await store.now(), time.time())


async def test_nodes_that_start_at_once_get_different_numbers(leases: Leases) -> None:
    """And a released number does not return at once: ids may be a little ahead of the clock."""
    stores = [await leases.open() for _ in range(5)]
    numbers = await asyncio.gather(*(each.number.lease() for each in stores))
    await stores[0].number.release()
    another = await leases.open()

    assert sorted(numbers) == [0, 1, 2, 3, 4]
    assert await another.number.lease() == 5


async def test_a_number_rests_for_a_day_and_is_then_leased_again(leases: Leases) -> None:
    """A node that was away for less keeps its number; one that was away for longer gets another."""
    absent, present = await leases.open(), await leases.open()
    number = await absent.number.lease()
    others = (
        f"SELECT number, 'other', now() + interval '9 days', now() FROM generate_series(1, {NODES - 1}) AS n(number)"
    )
    await leases.execute(f"INSERT INTO {{nodes}} {others}")
    await leases.age("23 hours")
    with pytest.raises(StorageUnavailable, match="None of the 1024 numbers of nodes is free") as caught:
        await present.number.lease()
    kept = await absent.number.renew()
    await leases.age("24 hours 11 s")
    taken = await present.number.lease()
    await leases.execute("DELETE FROM {nodes} WHERE number = 7")
    other = await absent.number.renew()

    assert "rests for a day" in caught.value.hint
    assert (number, kept) == (0, 0)
    assert (taken, other) == (0, 7)
