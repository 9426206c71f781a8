"""Nodes that share a registry: attachments and updates of firmware that several of them see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path

import pytest

from span_events.errors import StorageUnavailable
from span_events.events.message import Transport
from span_events.events.reasons import CiotDisconnectReason
from span_events.fleet.cellular.report import Accepted
from span_events.fleet.collections import CollectionChange
from span_events.registry.contents import Changes
from span_events.registry.model import Attachment, Collection, Device, Management, Reservation
from span_events.wire.fota import Report
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import until
from tests.fleet.cellular.reports import ADDRESS, IMSI, OTHER_IMSI, known, restarted, seen, send

Nodes = tuple[FleetBench, FleetBench]
REMOTE = ("10.0.0.9", 5683)
SETTINGS = {
    "cellular": {"pool": ("10.64.0.11/32",), "session_timeout": 3600.0},
    "firmware": {"stall_timeout": 120.0},
}
"""A pool with one address."""


@pytest.fixture
async def nodes(postgresql: PostgresqlServer, tmp_path: Path) -> AsyncIterator[Nodes]:
    """Two nodes, of which the second is the leader."""
    url = await postgresql.new_schema()
    async with (
        fleet_node(url, tmp_path / "one", **SETTINGS) as one,
        fleet_node(url, tmp_path / "two", **SETTINGS) as two,
    ):
        two.store.leader.leads = True
        await known(one)
        await until(lambda: bool(two.directory.devices))
        yield one, two


async def attach(one: FleetBench, two: FleetBench) -> None:
    """Start the device's attachment at one node, and wait until the other shows it."""
    one.cellular.accounting.start(seen())
    await one.cellular.commit()
    await until(lambda: two.gauge("cellular_sessions") == {"device": 1, "nobody": 0})


def reported(fleet: FleetBench) -> int:
    """Return when the mobile core last reported the device's attachment, as a node knows it."""
    (attachment,) = fleet.cellular._attachments.index
    return attachment.reported_ms


async def test_a_device_that_attached_at_one_node_may_send_to_another(nodes: Nodes) -> None:
    """And the record of its end may go there; each event is published once, and sessions end where they are."""
    one, two = nodes
    await attach(one, two)
    sender = send(two)
    send(one)
    one_names = one.names
    one.activities.clear()
    two.cellular.accounting.stop(seen())
    await two.cellular.commit()
    await until(lambda: one.gauge("cellular_sessions") == {"device": 0, "nobody": 0})

    assert sender is not None
    assert one_names == ["ciotConnect", "clientConnected", "upstreamMessage"]
    assert two.names == ["clientConnected", "upstreamMessage", "ciotDisconnect", "clientDisconnected"]
    assert one.names == ["clientDisconnected"]
    assert [each.directory.device_at(ADDRESS) for each in nodes] == [None, None]


async def test_a_device_made_while_another_node_reads_changes_has_its_message_and_attachment_there(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their notifications arrive while the other node still shows an older snapshot, without the device."""
    one, two = nodes
    read, device, follower = two.store.changes, None, two.registry._follower
    assert follower is not None

    async def slow(collections: Mapping[int, Collection]) -> Changes | None:
        nonlocal device
        found = await read(collections)
        if found is not None and device is None:
            device = await known(one, imsi=OTHER_IMSI, imei="")
            await one.outbox.queue(device, b"open", cause=CAUSE)
            one.cellular.accounting.start(seen(imsi=OTHER_IMSI, imei=""))
            await one.cellular.commit()
            await until(lambda: bool(follower._stale["downstream"] and follower._stale["attachments"]))
        return found

    monkeypatch.setattr(two.store, "changes", slow)
    await one.device()
    await until(lambda: two.outbox.waiting == 1)
    await until(lambda: two.gauge("cellular_sessions") == {"device": 1, "nobody": 0})

    assert device is not None
    assert two.directory.device_at(ADDRESS) is two.directory.devices[device.id]


async def test_pending_files_are_left_alone_while_a_node_does_not_see_the_changes_of_others(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload that is pending here may have its row by another node."""
    one, two = nodes
    told: list[bool] = []

    async def check(*, is_current: bool) -> None:
        told.append(is_current)

    async def away(_collections: Mapping[int, Collection]) -> None:
        raise StorageUnavailable("PostgreSQL is away")

    for files in (two.image_files, two.blob_files):
        monkeypatch.setattr(files, "check", check)
    with monkeypatch.context() as patch:
        patch.setattr(two.store, "changes", away)
        await one.device()
        await until(lambda: not two.registry.is_current)
        await two.check_files()
    await until(lambda: two.registry.is_current)
    await two.check_files()

    assert told == [False, False, True, True]


async def test_an_attachment_that_one_node_renews_does_not_time_out_on_another(nodes: Nodes) -> None:
    """Without reports, the leader ends it once."""
    one, two = nodes
    await attach(one, two)
    for _ in range(3):
        for each in nodes:
            await each.clock.advance(2000)
        one.cellular.accounting.interim(seen(time_ms=one.clock.time_ns() // 1_000_000))
        await one.cellular.commit()
        await until(lambda: reported(one) == reported(two))
        for each in nodes:
            await each.lead()
    alive = two.gauge("cellular_sessions")
    for each in nodes:
        each.activities.clear()
        await each.clock.advance(90_000)
        await each.lead()
    await two.cellular.commit()
    await until(lambda: one.gauge("cellular_sessions") == {"device": 0, "nobody": 0})

    assert alive == {"device": 1, "nobody": 0}
    assert "ciotDisconnect" not in one.names
    assert two.names.count("ciotDisconnect") == 1


async def test_a_silent_device_is_published_once_also_after_a_change_of_the_leader(nodes: Nodes) -> None:
    """Input from before the attachment does not count, and each node's check takes place at the same time."""
    one, two = nodes
    for each in nodes:
        (device,) = each.directory.devices.values()
        each.reception.sessions.contacted(device, REMOTE, transport=Transport.COAP)
    await attach(one, two)
    for each in nodes:
        each.activities.clear()
        each.clock.shift(301)
        await each.lead()
    names = one.names, two.names
    one.store.leader.leads, two.store.leader.leads = True, False
    for each in nodes:
        each.clock.shift(301)
        await each.lead()

    assert names == ([], ["clientSilent"])
    assert (one.names, two.names) == names


async def test_a_device_that_made_a_session_at_another_node_is_not_silent(nodes: Nodes) -> None:
    """It polls there; the leader sees the session in the registry."""
    one, two = nodes
    await attach(one, two)
    (device,), (found,) = one.directory.devices.values(), two.directory.devices.values()
    one.reception.sessions.connected(
        device,
        REMOTE,
        transport=Transport.DTLS,
        cipher="",
        handshake_ms=1,
        retransmissions=0,
        close=lambda reason: None,
    )
    await one.reception.flush()
    await until(lambda: found.inet == device.inet)
    two.activities.clear()
    two.clock.shift(301)
    await two.lead()

    assert two.names == []


async def test_an_attachment_that_another_node_took_from_its_device_is_not_checked_for_silence(nodes: Nodes) -> None:
    """It is nobody's, so no device is silent; after the next assignment, the check is of the new device."""
    one, two = nodes
    await attach(one, two)
    (device,) = one.directory.devices.values()
    attachments = one.cellular._attachments
    (attachment,) = attachments.index
    attachments.unassign(attachment, CiotDisconnectReason.IDENTITY_CHANGED, CAUSE)
    await one.cellular.commit()
    await until(lambda: two.gauge("cellular_sessions") == {"device": 0, "nobody": 1})
    two.activities.clear()
    two.clock.shift(301)
    await two.lead()
    unassigned = two.names
    attachments.assign(attachment, device, {}, CAUSE)
    await one.cellular.commit()
    await until(lambda: two.gauge("cellular_sessions") == {"device": 1, "nobody": 0})
    two.clock.shift(301)
    await two.lead()

    assert unassigned == []
    assert two.names == ["clientSilent"]


async def renew(two: FleetBench) -> None:
    """Have a node receive an Interim-Update, so that other nodes read the attachment's row."""
    two.clock.shift(1)
    two.cellular.accounting.interim(seen(time_ms=two.clock.time_ns() // 1_000_000))
    await two.cellular.commit()


async def test_an_attachment_that_ends_after_its_row_was_read_stays_ended(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deletion waits until the row, which another node renewed just before, is shown."""
    one, two = nodes
    await attach(one, two)
    read, ends = one.store.cellular, set[asyncio.Task[None]]()

    async def slow(
        ids: AbstractSet[int] | None, addresses: AbstractSet[str] | None, devices: Mapping[int, Device]
    ) -> tuple[list[Attachment], list[Reservation]]:
        found = await read(ids, addresses, devices)
        if not ends:
            one.cellular.accounting.stop(seen())
            ends.add(asyncio.create_task(one.cellular.commit()))
            await asyncio.wait(ends, timeout=0.2)  # a deletion that does not wait is done by then
        return found

    monkeypatch.setattr(one.store, "cellular", slow)
    await renew(two)
    await until(lambda: bool(ends))
    await asyncio.gather(*ends)
    await until(lambda: two.gauge("cellular_sessions") == {"device": 0, "nobody": 0})

    assert one.gauge("cellular_sessions") == {"device": 0, "nobody": 0}


async def test_an_attachment_whose_end_is_being_written_stays_ended(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its row, which another node renewed just before, is read after the deletion."""
    one, two = nodes
    await attach(one, two)
    read, write, has_read = one.store.cellular, one.store.change_cellular, asyncio.Event()

    async def noted(
        ids: AbstractSet[int] | None, addresses: AbstractSet[str] | None, devices: Mapping[int, Device]
    ) -> tuple[list[Attachment], list[Reservation]]:
        found = await read(ids, addresses, devices)
        has_read.set()
        return found

    async def slow(
        attachments: Mapping[int, Attachment | None],
        reserved: Sequence[Reservation],
        released: Sequence[Reservation],
    ) -> list[Reservation]:
        await renew(two)
        with suppress(TimeoutError):  # a reader that does not wait has read the row by then
            await asyncio.wait_for(has_read.wait(), timeout=0.2)
        return await write(attachments, reserved, released)

    monkeypatch.setattr(one.store, "cellular", noted)
    monkeypatch.setattr(one.store, "change_cellular", slow)
    one.cellular.accounting.stop(seen())
    await one.cellular.commit()
    await until(has_read.is_set)
    await until(lambda: two.gauge("cellular_sessions") == {"device": 0, "nobody": 0})

    assert one.gauge("cellular_sessions") == {"device": 0, "nobody": 0}


async def test_an_address_that_one_node_has_promised_is_not_promised_by_another(nodes: Nodes) -> None:
    """The reservation is known there as soon as the Accept may leave; after its end the address is free again."""
    one, two = nodes
    await known(one, imsi=OTHER_IMSI, imei="")
    await until(lambda: two.directory.device_with_imsi(OTHER_IMSI) is not None)
    first = one.cellular.access(seen(imsi=IMSI, address=""), accounting=True)
    await one.cellular.commit()
    await until(lambda: two.gauge("cellular_reservations") == 1)
    second = two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)
    for each in nodes:
        await each.clock.advance(400)
        each.cellular.sweep()
    third = two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)
    await two.cellular.commit()
    await one.cellular.commit()  # the late end of the first one deletes no other
    (kept,) = (await one.store.load()).reservations

    assert isinstance(first, Accepted)
    assert first.address == ADDRESS
    assert not isinstance(second, Accepted)
    assert isinstance(third, Accepted)
    assert third.holds()
    assert one.directory.devices[kept.device_id or 0].config.imsi == OTHER_IMSI


async def test_a_reservation_lasts_as_long_on_a_node_whose_clock_differs(nodes: Nodes) -> None:
    """Also if the node has just started. It neither deletes the reservation nor promises the address to another."""
    one, two = nodes
    await known(one, imsi=OTHER_IMSI, imei="")
    await until(lambda: two.directory.device_with_imsi(OTHER_IMSI) is not None)
    two.clock.step(1000)
    first = one.cellular.access(seen(imsi=IMSI, address=""), accounting=True)
    await one.cellular.commit()
    await until(lambda: two.gauge("cellular_reservations") == 1)
    later = await restarted(two, **SETTINGS)
    for each in (two, later):
        each.cellular.sweep()
        await each.cellular.commit()
    second = two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)

    assert isinstance(first, Accepted)
    assert first.holds()
    assert later.gauge("cellular_reservations") == 1
    assert not isinstance(second, Accepted)
    assert len((await one.store.load()).reservations) == 1


async def test_of_two_nodes_that_promise_one_address_at_once_one_answers(nodes: Nodes) -> None:
    """The other's Accept does not leave; the retransmission finds no address."""
    one, two = nodes
    await known(one, imsi=OTHER_IMSI, imei="")
    await until(lambda: two.directory.device_with_imsi(OTHER_IMSI) is not None)
    first = one.cellular.access(seen(imsi=IMSI, address=""), accounting=True)
    second = two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)
    assert isinstance(first, Accepted)
    assert isinstance(second, Accepted)
    await asyncio.gather(one.cellular.commit(), two.cellular.commit())
    holds = [first.holds(), second.holds()]
    again = [
        one.cellular.access(seen(imsi=IMSI, address=""), accounting=True),
        two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True),
    ]

    assert first.address == second.address == ADDRESS
    assert sorted(holds) == [False, True]
    assert [isinstance(each, Accepted) for each in again] == holds


async def test_an_address_in_use_is_not_promised_before_its_attachment_is_seen(nodes: Nodes) -> None:
    """The registry knows of it, whatever this node has heard."""
    one, two = nodes
    await known(one, imsi=OTHER_IMSI, imei="")
    await until(lambda: two.directory.device_with_imsi(OTHER_IMSI) is not None)
    second = two.cellular.access(seen(imsi=OTHER_IMSI, imei="", address=""), accounting=True)
    one.cellular.accounting.start(seen())
    await one.cellular.commit()
    await two.cellular.commit()

    assert isinstance(second, Accepted)
    assert not second.holds()


async def test_only_the_node_of_a_download_publishes_that_it_stalled(nodes: Nodes) -> None:
    """Others show the state; a device that goes on elsewhere has not stalled, although its first node hears nothing."""
    one, two = nodes
    (device,), (found,) = one.directory.devices.values(), two.directory.devices.values()
    image = await one.image(device.collection, "1.1", bytes(1280))
    change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
    await one.collections.update(device.collection, change, cause=CAUSE)
    await until(lambda: found.collection.firmware.target_firmware_id == image.id)

    def report(fleet: FleetBench, reporter: Device) -> None:
        fleet.firmware.report(reporter, Report("1.0"), remote=REMOTE, transport=Transport.COAP)

    report(one, device)
    for _ in range(2):
        for each in nodes:
            await each.clock.advance(100)
        one.firmware.downloads.fetch(device, 0, 64, remote=REMOTE, transport=Transport.COAP)
        await one.reception.flush()
        await until(lambda: found.firmware.state == "Downloading")
    for each in nodes:
        each.activities.clear()
        await each.clock.advance(121)
        each.firmware.sweep()
    stalled = one.names, two.names
    one.firmware.downloads.fetch(device, 1, 64, remote=REMOTE, transport=Transport.COAP)
    await two.clock.advance(1)
    report(two, found)
    await two.reception.flush()
    await until(lambda: device.firmware.reported_ms == found.firmware.reported_ms)
    one.activities.clear()
    await one.clock.advance(121)
    one.firmware.sweep()

    assert stalled == (["firmwareStateChange"], [])
    assert one.names == []


async def test_the_leader_alone_removes_expired_certificates(nodes: Nodes) -> None:
    """The other node shows that, and forgets its warnings with them."""
    one, two = nodes
    (device,) = one.directory.devices.values()
    signed = await one.certificates.create(device)
    await until(lambda: signed.record.serial in two.directory.certificates)
    for each in nodes:
        each.clock.shift(30 * 365 * 86_400)
    await one.certificates.prune()
    kept = signed.record.serial in one.directory.certificates
    await two.certificates.prune()
    await until(lambda: not one.directory.certificates)
    one.certificates._warned[signed.record.serial] = 0.0
    await one.certificates.prune()

    assert kept
    assert not two.directory.certificates
    assert not one.certificates._warned
