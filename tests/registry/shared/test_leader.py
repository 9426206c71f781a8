"""The leader among the nodes that share a registry: one at a time, and the next as soon as it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from span_events.errors import StorageUnavailable
from span_events.registry.shared import leader
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import until


@pytest.fixture
async def stores(postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[Store]]:
    """Two nodes on one registry, which look often."""
    monkeypatch.setattr(leader, "_LOOK", 0.01)
    url = await postgresql.new_schema()
    opened = [Store(url, shared=True) for _ in range(2)]
    await asyncio.gather(*(each.open() for each in opened))
    yield opened
    await asyncio.gather(*(each.close() for each in opened))


async def test_one_node_leads_and_the_other_takes_over(stores: list[Store], postgresql: PostgresqlServer) -> None:
    """Whether the leader stops or loses its connection; it is told, and may become the leader again."""
    one, two = (each.leader for each in stores)
    told: tuple[list[bool], list[bool]] = ([], [])
    one.on_changed.append(told[0].append)
    two.on_changed.append(told[1].append)
    first = asyncio.create_task(one.campaign())
    await until(lambda: one.leads)
    second = asyncio.create_task(two.campaign())
    locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 1936744817 AND granted"
    await postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM ({locks}) AS leaders")
    with pytest.raises(StorageUnavailable):
        await first
    await until(lambda: two.leads)
    first = asyncio.create_task(one.campaign())
    second.cancel()
    with suppress(asyncio.CancelledError):
        await second
    await until(lambda: one.leads)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first

    assert told == ([True, False, True, False], [True, False])
