"""Two nodes that share a registry in PostgreSQL: each shows the changes of the other, and none is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from span_events.errors import Conflict, SpanEventsError, StorageUnavailable
from span_events.events.message import Transport
from span_events.events.reasons import DisconnectReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.outputs.outputs import OutputChange
from span_events.net import Remote
from span_events.registry.model import Device, Psk
from span_events.registry.outputs import OutputType
from span_events.registry.shared import journal
from span_events.registry.store import Store
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import PostgresqlServer, postgresql_server
from tests.bench.waiting import until
from tests.registry.rows import values

REMOTE: Remote = ("10.0.0.1", 4711)


async def seen(two: FleetBench, device: Device) -> Device:
    """Wait until a node shows a device; return its object there."""
    await until(lambda: device.id in two.directory.devices)
    return two.directory.devices[device.id]


def received(fleet: FleetBench, device: Device, payload: bytes) -> None:
    """Have a node receive a message."""
    fleet.reception.received(device, payload, remote=REMOTE, transport=Transport.UDP, local_port=1234)


async def test_nodes_warn_of_a_certificate_once_a_day_together(nodes: tuple[FleetBench, FleetBench]) -> None:
    """A device that expires soon comes to one node, then to the other."""
    one, two = nodes
    made = await one.device("10.0.0.9")
    record = (await one.certificates.create(made)).record
    await until(lambda: record.serial in two.directory.certificates)
    for each in nodes:
        each.clock.shift(13 * 86_400)
    one.certificates.used(record)
    await one.flush()
    await until(lambda: record.serial in two.certificates._warned)
    two.certificates.used(record)
    for each in nodes:
        each.clock.shift(86_400)
    two.certificates.used(record)

    assert (one.certificates.expiring, two.certificates.expiring) == (1, 1)


async def test_what_one_node_makes_the_other_shows(nodes: tuple[FleetBench, FleetBench]) -> None:
    """Each kind of the registry; its events are published by the node that made it, and by no other."""
    one, two = nodes
    made = await one.device("10.0.0.1")
    gateway = await one.gateway(made.collection, name="Dach")
    await one.psks.put(made, Psk(b"pump", b"k" * 16), cause=CAUSE)
    signed = await one.certificates.create(made)
    image = await one.image(made.collection)
    webhook = OutputChange(type=OutputType.WEBHOOK, config={"url": "http://127.0.0.1/"})
    output = await one.outputs.create(made.collection, webhook)
    await until(lambda: two.directory.outputs.get(output.id) == output)
    found = await seen(two, made)

    assert values(found) == values(made)
    assert found.collection is two.directory.collections[made.collection.id]
    assert two.directory.device_at("10.0.0.1") is found
    assert two.directory.device_with_psk(b"pump") is found
    assert values(two.directory.gateways[gateway.id]) == values(gateway)
    assert two.directory.certificates[signed.record.serial] == signed.record
    assert two.directory.images.get(image.id) == image
    assert two.names == []


async def test_a_change_ends_sessions_on_the_other_node(nodes: tuple[FleetBench, FleetBench]) -> None:
    """The device's object stays, and the end of the session is published where the session was."""
    one, two = nodes
    made = await one.device("10.0.0.1")
    found = await seen(two, made)
    received(two, found, b"hello")
    two.activities.clear()
    change = DeviceChange(enabled=False, tags={"name": "pump"}, allocated_ip="10.0.0.2")
    await one.devices.update(made, change, cause=CAUSE)
    await until(lambda: not found.enabled)

    assert two.directory.devices[made.id] is found
    assert two.directory.device_at("10.0.0.2") is found
    assert two.directory.device_at("10.0.0.1") is None
    assert [(name, data["reason"]) for name, data in two.published] == [("clientDisconnected", "deviceDisabled")]
    assert one.names == ["deviceUpdated"]


async def test_a_session_that_begins_at_another_node_ends_the_older_one_from_the_same_address(
    nodes: tuple[FleetBench, FleetBench],
) -> None:
    """The balancer sent a rebooted device elsewhere. Sessions from another address or over CoAPS are no ghosts."""
    one, two = nodes
    device = await one.device("10.0.0.9")
    await until(lambda: device.id in two.directory.devices)
    closed: list[tuple[str, DisconnectReason]] = []

    def connect(node: FleetBench, host: str, name: str, transport: Transport = Transport.DTLS) -> None:
        node.reception.sessions.connected(
            node.directory.devices[device.id],
            (host, 4000),
            transport=transport,
            cipher="",
            handshake_ms=1,
            retransmissions=0,
            close=lambda reason: closed.append((name, reason)),
        )

    connect(one, "192.0.2.1", "ghost")
    connect(one, "192.0.2.2", "another address")
    connect(one, "192.0.2.1", "another transport", Transport.COAPS)
    await two.clock.advance(1)
    connect(two, "192.0.2.1", "newer")
    await two.flush()
    await until(lambda: bool(closed))

    assert closed == [("ghost", DisconnectReason.REPLACED)]
    name, data = one.published[-1]
    assert (name, data["reason"]) == ("clientDisconnected", "replaced")


async def test_removed_things_are_removed_on_the_other_node(nodes: tuple[FleetBench, FleetBench]) -> None:
    """With a collection and all that was in it."""
    one, two = nodes
    made = await one.device()
    gateway = await one.gateway(made.collection)
    image = await one.image(made.collection)
    await until(lambda: two.directory.images.get(image.id) is not None)
    await one.devices.remove(made, cause=CAUSE)
    await one.gateways.remove(gateway, cause=CAUSE)
    await one.images.remove(image, cause=CAUSE)
    await one.collections.remove(made.collection)
    await until(lambda: not two.directory.collections)

    assert (two.directory.devices, two.directory.gateways, len(two.directory.images)) == ({}, {}, 0)


async def test_of_two_devices_with_one_address_exactly_one_is_made(nodes: tuple[FleetBench, FleetBench]) -> None:
    """Both nodes check the directory at the same moment; the lock makes one of them see the other's device first."""
    one, two = nodes
    ours = await one.collection()
    await until(lambda: ours.id in two.directory.collections)
    theirs = two.directory.collections[ours.id]
    results = await asyncio.gather(
        *(
            fleet.devices.create(owner, DeviceChange(allocated_ip=f"10.0.0.{number}"), cause=CAUSE)
            for number in range(1, 6)
            for fleet, owner in ((one, ours), (two, theirs))
        ),
        return_exceptions=True,
    )

    assert sum(isinstance(each, Device) for each in results) == 5
    assert sum(isinstance(each, Conflict) and "belongs to another device" in str(each) for each in results) == 5


async def test_activity_leaves_the_configuration_as_it_is(nodes: tuple[FleetBench, FleetBench], url: str) -> None:
    """A node that has not seen a change yet writes what its devices sent; both survive, in memory and on disk."""
    one, two = nodes
    made = await one.device("10.0.0.1")
    found = await seen(two, made)
    received(two, found, b"fresh")
    change = DeviceChange(tags={"name": "pump"}, static_ip="10.0.0.9", imsi="242016000000001")
    await asyncio.gather(one.devices.update(made, change, cause=CAUSE), two.reception.flush())
    await until(lambda: made.last_payload == b"fresh" and found.tags == {"name": "pump"})
    again = Store(url, shared=True)
    await again.open()
    (stored,) = (await again.load()).devices
    await again.close()

    assert values(stored) == values(made) == values(found)
    assert (stored.ciot.static_ip, stored.config.imsi, stored.last_payload) == ("10.0.0.9", "242016000000001", b"fresh")


async def test_older_activity_does_not_replace_newer(nodes: tuple[FleetBench, FleetBench]) -> None:
    """Two nodes may receive messages of one device, and write them in another order."""
    one, two = nodes
    made = await one.device("10.0.0.1")
    found = await seen(two, made)
    received(one, made, b"older")
    await two.clock.advance(1)
    received(two, found, b"newer")
    await two.reception.flush()
    await one.reception.flush()
    await until(lambda: made.last_payload == b"newer")
    await one.devices.update(made, DeviceChange(tags={"name": "pump"}), cause=CAUSE)
    stored = await one.store.read({"devices": {made.id}}, one.directory.collections)

    assert stored.devices[0].last_payload == found.last_payload == b"newer"


async def test_a_holder_that_lost_the_lock_cannot_write(
    nodes: tuple[FleetBench, FleetBench], postgresql: PostgresqlServer, url: str
) -> None:
    """Its connection ended, and another node changed the registry: the hint is to repeat the request."""
    one, two = nodes
    ours = await one.collection()
    await until(lambda: ours.id in two.directory.collections)
    holds, goes_on = asyncio.Event(), asyncio.Event()

    async def write_late() -> None:
        async with one.registry.lock:
            holds.set()
            await goes_on.wait()
            await one.store.put_collection(ours)

    late = asyncio.create_task(write_late())
    await holds.wait()
    locks = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' AND granted"
    where = f"usename = '{make_url(url).username}' AND pid IN ({locks})"
    await postgresql.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {where}")
    await two.collections.create(CollectionChange())
    goes_on.set()
    with pytest.raises(Conflict, match="Another node changed the registry") as caught:
        await late
    made = await one.collections.create(CollectionChange())

    assert "Repeat the request" in caught.value.hint
    assert len(one.directory.collections) == 3
    await until(lambda: made.id in two.directory.collections)


async def test_a_write_whose_caller_was_cancelled_shows_everywhere(nodes: tuple[FleetBench, FleetBench]) -> None:
    """Also on the node that wrote it."""
    one, two = nodes
    creating = asyncio.create_task(one.collections.create(CollectionChange()))
    await until(lambda: one.gauge("registry_waiting_writes") == 1)
    creating.cancel()
    with suppress(asyncio.CancelledError):
        await creating
    await until(lambda: len(one.directory.collections) == len(two.directory.collections) == 1)


async def test_a_node_that_missed_too_much_reads_the_registry_anew(
    nodes: tuple[FleetBench, FleetBench], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal is bounded; what was removed meanwhile goes, and objects that stayed are the same."""
    monkeypatch.setattr(journal, "KEPT", 1)
    one, two = nodes
    stays, goes = await one.device("10.0.0.1"), await one.device("10.0.0.2")
    found, gone = await seen(two, stays), await seen(two, goes)
    async with two.registry._follower._lock:  # type: ignore[union-attr]  # it cannot follow now
        await one.devices.remove(goes, cause=CAUSE)
        await one.devices.update(stays, DeviceChange(tags={"name": "pump"}), cause=CAUSE)
        last = await one.gateway(stays.collection)
    await until(lambda: last.id in two.directory.gateways)

    assert gone.id not in two.directory.devices
    assert two.directory.devices[stays.id] is found
    assert found.tags == {"name": "pump"}


@pytest.fixture
def mortal() -> Iterator[PostgresqlServer]:
    """Run a server that a test may kill."""
    with postgresql_server() as server:
        yield server


async def test_nodes_go_on_while_postgresql_is_away_and_follow_again(mortal: PostgresqlServer, tmp_path: Path) -> None:
    """SIGKILL: changes are refused, known devices are served, and after the restart nothing has to be repaired."""
    url = await mortal.new_schema()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(fleet_node(url, tmp_path / "one"))
        two = await stack.enter_async_context(fleet_node(url, tmp_path / "two"))
        made = await one.device("10.0.0.1")
        found = await seen(two, made)
        mortal.kill()
        with pytest.raises(StorageUnavailable):
            await one.devices.update(made, DeviceChange(tags={"name": "pump"}), cause=CAUSE)
        received(two, found, b"meanwhile")
        with pytest.raises(SpanEventsError):
            await two.reception.flush()
        mortal.start()
        await one.devices.update(made, DeviceChange(tags={"name": "pump"}), cause=CAUSE)
        await two.reception.flush()
        await until(lambda: found.tags == {"name": "pump"} and made.last_payload == b"meanwhile")

        assert two.names == ["clientConnected", "upstreamMessage"]
