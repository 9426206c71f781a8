"""A node whose notifications are late asks PostgreSQL before it rejects a device that another node has registered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio

from span_events.errors import DatabaseUnavailable
from span_events.events.message import Transport
from span_events.net import Remote
from span_events.registry.model import Device
from span_events.registry.shared import follower
from tests.bench.fleets import FleetBench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import PATIENCE, until
from tests.fleet.cellular.reports import known, seen

pytestmark = pytest.mark.asyncio(loop_scope="module")

Nodes = tuple[FleetBench, FleetBench]
_NUMBERS = count(1)


class Deaf(asyncio.Event):
    """Never set: a node that waits for it hears of no change."""

    def set(self) -> None:
        """Do nothing."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="nodes")
async def two_nodes(postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    """Two nodes, of which the second hears of no change."""
    url, folder = await postgresql.new_schema(), tmp_path_factory.mktemp("nodes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower, "_LOOK", PATIENCE)
        async with fleet_node(url, folder / "one") as one, fleet_node(url, folder / "two") as two:
            assert two.registry._follower is not None
            two.registry._follower._woken = Deaf()
            two.registry.questions.patience = PATIENCE
            await until(lambda: two.registry.questions.hold(lambda: None, host=None, octets=0))  # it follows
            yield one, two


@pytest.fixture
def address() -> str:
    """Return an address that no test had before."""
    return f"10.0.0.{next(_NUMBERS)}"


class Sender:
    """Sends datagrams to a node, and notes whose they are."""

    def __init__(self, fleet: FleetBench) -> None:
        self._fleet = fleet
        self.found: list[Device | str] = []

    def send(self, address: str) -> None:
        """Send a datagram from an address."""
        self._receive(b"hello", (address, 4000))

    def _receive(self, datagram: bytes, remote: Remote) -> None:
        reception = self._fleet.reception
        found = reception.device_at(remote[0])
        if isinstance(found, Device):
            self.found.append(found)
        elif reason := reception.hold_or_reject(found, datagram, remote, self._receive, transport=Transport.UDP):
            self.found.append(reason)


async def test_a_device_that_was_registered_at_another_node_may_send_at_once(nodes: Nodes, address: str) -> None:
    """It is known after one question, and by then for all."""
    one, two = nodes
    device = await one.device(address)
    sender, was_known, before = Sender(two), device.id in two.directory.devices, len(two.names)
    for _ in range(2):
        sender.send(address)
    await until(lambda: len(sender.found) == 2)
    sender.send(address)

    assert not was_known
    assert sender.found == [two.directory.devices[device.id]] * 3
    assert two.names[before:] == []


async def test_a_device_that_attached_through_another_node_may_send_at_once(nodes: Nodes, address: str) -> None:
    """Attachments are in no journal: the question waits until their notices have come."""
    one, two = nodes
    device = await known(one)
    one.cellular.accounting.start(seen(address=address))
    await one.cellular.commit()
    sender = Sender(two)
    sender.send(address)
    await until(lambda: bool(sender.found))

    assert sender.found == [two.directory.devices[device.id]]


async def test_without_an_answer_a_node_decides_by_what_it_knows(
    nodes: Nodes, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed question is no answer."""
    one, two = nodes

    async def away(_channel: str) -> None:
        raise DatabaseUnavailable("PostgreSQL is away")

    monkeypatch.setattr(two.store, "notify", away)
    await one.device(address)
    sender = Sender(two)
    sender.send(address)
    await until(lambda: bool(sender.found))

    assert sender.found == ["unknownAddress"]


async def test_a_flood_of_unknown_addresses_causes_few_queries(
    nodes: Nodes, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one question is under way, the flood waits for the next, or is rejected at once; a device comes through."""
    one, two = nodes
    asked, notify = 0, two.store.notify

    async def counted(channel: str) -> None:
        nonlocal asked
        asked += 1
        await notify(channel)

    monkeypatch.setattr(two.store, "notify", counted)
    device, sender = await one.device(address), Sender(two)
    sender.send(address)
    for number in range(5_000):
        sender.send(f"10.1.{number >> 8}.{number & 255}")
    await until(lambda: len(sender.found) == 5_001)

    assert two.directory.devices[device.id] in sender.found
    assert sender.found.count("unknownAddress") == 5_000
    assert asked == 1
