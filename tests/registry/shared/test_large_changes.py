"""Changes of more rows than PostgreSQL takes parameters in a statement (32,767): other nodes read them all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer

MANY = range(1, 32_769)
"""Primary keys of rows that are not there: only their number matters."""


@pytest.fixture
async def stores(postgresql: PostgresqlServer) -> AsyncIterator[tuple[Store, Store]]:
    """The stores of two nodes that share a registry."""
    url = await postgresql.new_schema()
    one, two = Store(url, shared=True), Store(url, shared=True)
    await one.open()
    await two.open()
    yield one, two
    await one.close()
    await two.close()


async def test_one_change_of_very_many_rows_is_followed(stores: tuple[Store, Store]) -> None:
    """As of the devices of a gateway that is removed, or all that a node missed while it was away."""
    one, two = stores
    await one.delete_certificates(MANY)
    changes = await two.changes({})

    assert changes is not None
    assert changes.removed == {"certificates": set(MANY)}


async def test_very_many_rows_are_read_after_their_notices(stores: tuple[Store, Store]) -> None:
    """As of all attachments of a mobile core that was restarted."""
    one, two = stores
    await one.settle_downstream([], MANY, [])
    found = await two.read({"downstream": set(MANY)}, {})
    attachments = await two.cellular(set(MANY), set(map(str, MANY)), {})

    assert found.downstream == []
    assert attachments == ([], [])
