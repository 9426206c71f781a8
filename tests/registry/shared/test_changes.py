"""Changes of other nodes, as the store of a node reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from span_events.registry.model import Reservation
from span_events.registry.store import Store
from tests.bench.peers.postgresql import PostgresqlServer
from tests.registry.rows import HIGH, collection, device, gateway

MANY = range(1, 32_769)
"""
Primary keys of rows that are not there: only their number matters. PostgreSQL takes 32,767 parameters in a statement.
"""


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


async def test_rows_of_a_collection_that_is_not_shown_yet_are_left_out(stores: tuple[Store, Store]) -> None:
    """As of a device that moves into a new collection while its activity is read: the journal brings both."""
    one, two = stores
    owner = collection()
    await one.put_collection(owner)
    await one.put_devices([device(owner)])
    await one.put_gateways([gateway(owner)])
    keys = {"devices": {HIGH}, "gateways": {HIGH}}
    early = await two.read(keys, {})
    late = await two.read(keys, {owner.id: owner})

    assert (early.devices, early.gateways) == ([], [])
    assert [len(late.devices), len(late.gateways)] == [1, 1]


async def test_a_reservation_that_was_replaced_or_renewed_elsewhere_is_not_deleted(stores: tuple[Store, Store]) -> None:
    """A node may notice late that one has lapsed: another node has promised the address again meanwhile."""
    one, two = stores
    first = Reservation("10.0.0.1", 7, "", "", "apn", until_ms=1_000)
    second = Reservation("10.0.0.1", None, "001010000000001", "", "apn", until_ms=1_500)
    renewed = replace(second, until_ms=2_000)
    await one.change_cellular({}, [first])
    lost = [await two.change_cellular({}, [second]), await two.change_cellular({}, [second], [first])]
    await one.change_cellular({}, released=[first])
    replaced = (await one.load()).reservations
    await two.change_cellular({}, [renewed])
    await one.change_cellular({}, released=[second])
    kept = (await one.load()).reservations
    await one.change_cellular({}, released=[renewed])

    assert lost == [[first], []]
    assert (replaced, kept) == ([second], [renewed])
    assert (await one.load()).reservations == []
