"""Timers of nodes that share a registry: when a node dies, another publishes what has timed out, once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from span_events.errors import StorageUnavailable
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.others import OtherNodes
from span_events.registry.model import Device, Management
from span_events.registry.shared.timers import Timers
from span_events.wire.fota import Report
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import PostgresqlServer
from tests.bench.waiting import until
from tests.fleet.cellular.reports import ADDRESS, OTHER_IMSI, known, seen

REMOTE = ("10.0.0.9", 5683)
STALL = 120.0
INTERIM_TIMEOUT = 3 * 600 + 60.0
"""Of a NAS that sends an Interim-Update each 600 s."""


class Cluster:
    """Three nodes: one that a device contacts first, and two that believe that they lead."""

    def __init__(self, server: PostgresqlServer, url: str, nodes: list[FleetBench]) -> None:
        self._server = server
        self._table = f"{make_url(url).username}.nodes"
        self.nodes = nodes
        self.first, *self.leaders = nodes
        self.mortal = self.first.store.node
        for each in self.leaders:
            each.store.leader.leads = True

    async def wait(self, seconds: float) -> None:
        """Let time pass at the nodes that live, and have them do what a leader does."""
        for each in self.leaders:
            each.clock.shift(seconds)
            each.sweep()
        await asyncio.gather(*(each.lead() for each in self.leaders))

    async def lease(self, seconds: float) -> None:
        """Have the lease of the first node end in some seconds of PostgreSQL's clock."""
        ends = f"now() + interval '{seconds} s'"
        await self._server.execute(f"UPDATE {self._table} SET leased_until = {ends} WHERE holder = '{self.mortal}'")

    def take(self) -> list[tuple[str, dict[str, str]]]:
        """Return what the nodes that live have published, and begin anew."""
        return [event for each in self.leaders for event in each.drain()]


@pytest.fixture
async def cluster(postgresql: PostgresqlServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Three nodes, whose leases last for the whole test."""
    url = await postgresql.new_schema()
    settings = {"firmware": {"stall_timeout": STALL}, "cellular": {"session_timeout": 86_400.0}}
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(fleet_node(url, tmp_path / str(each), **settings)) for each in "123"]
        await postgresql.execute(f"UPDATE {make_url(url).username}.nodes SET leased_until = now() + interval '1 hour'")
        yield Cluster(postgresql, url, nodes)


async def downloading(cluster: Cluster) -> list[Device]:
    """Let a device ask for the first blocks of an image at the first node; return it as each node shows it."""
    first = cluster.first
    device = await first.device()
    image = await first.image(device.collection, "1.1", bytes(1280))
    change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
    await first.collections.update(device.collection, change, cause=CAUSE)
    await until(lambda: all(each.directory.images.has(image.id) for each in cluster.leaders))
    for each in cluster.leaders:
        shutil.copy(first.image_file(image.id), each.image_file(image.id))
    first.firmware.report(device, Report("1.0"), remote=REMOTE, transport=Transport.COAP)
    fetch(first, device, 0)
    first.clock.shift(6)
    fetch(first, device, 1)  # no tenth of the image, but some seconds later
    await first.reception.flush()
    devices = [each.directory.devices[device.id] for each in cluster.nodes]
    await until(lambda: all(each.firmware.download_block == 1 for each in devices))
    return devices


def fetch(node: FleetBench, device: Device, block: int) -> None:
    """Let a device ask a node for a block."""
    node.firmware.downloads.fetch(device, block, 64, remote=REMOTE, transport=Transport.COAP)


async def test_a_download_stalls_once_although_its_node_died(cluster: Cluster) -> None:
    """Not while that node has its lease, nor while it answers: it may have lost only PostgreSQL. One moves on."""
    await downloading(cluster)
    moving = await downloading(cluster)
    await cluster.wait(STALL - 10)
    fetch(cluster.leaders[0], moving[1], 2)
    await cluster.leaders[0].reception.flush()
    await until(lambda: moving[2].firmware.download_block == 2)
    cluster.take()
    await cluster.wait(22)
    leased = cluster.take()
    await cluster.lease(-1)
    serving = [OtherNodes(bus=each.bus, registry=cluster.first.registry) for each in cluster.leaders]
    for each in serving:
        each.serve()
    await cluster.wait(1)
    answering = cluster.take()
    for node in cluster.leaders:
        node.bus._handlers.clear()
    await cluster.wait(1)
    told = cluster.take()
    await cluster.wait(STALL)
    moved = cluster.take()

    assert (leased, answering) == ([], [])
    assert [(name, data["state"], data["block"], data["seconds"]) for name, data in told + moved] == [
        ("firmwareStateChange", "TimedOut", "1", "128"),
        ("firmwareStateChange", "TimedOut", "2", "144"),
    ]
    assert (len(told), len(moved)) == (1, 1)


async def test_a_download_has_its_whole_time_again_after_all_nodes_were_away(cluster: Cluster) -> None:
    """The device could not go on. The next leader does nothing before the others had time to renew their leases."""
    await downloading(cluster)
    await cluster.lease(-1)
    for each in cluster.leaders:
        each.store.leader.leads = False
    await cluster.wait(STALL + 12)
    for each in cluster.leaders:
        each.store.leader.leads = True
    cluster.leaders[0].firmware.prepare()
    await cluster.leaders[0].lead()
    await cluster.leaders[1].lead()
    early = cluster.take()
    cluster.leaders.pop()
    await cluster.wait(STALL)
    still = cluster.take()
    await cluster.wait(6)

    assert (early, still) == ([], [])
    assert [data["state"] for _, data in cluster.take()] == ["TimedOut"]


async def test_a_node_that_reads_a_change_of_the_device_leaves_its_timers_and_ghosts(cluster: Cluster) -> None:
    """The change of the configuration brings the row, and with it the activity of the other node."""
    devices, (one, two, _) = await downloading(cluster), cluster.nodes
    closed: list[str] = []

    def connect(node: FleetBench, device: Device) -> None:
        node.reception.sessions.connected(
            device,
            REMOTE,
            transport=Transport.DTLS,
            cipher="",
            handshake_ms=1,
            retransmissions=0,
            close=lambda _: closed.append(node.store.node),
        )

    connect(one, devices[0])
    async with one.registry._follower._lock:  # type: ignore[union-attr]  # it cannot follow now
        two.clock.shift(7)
        connect(two, devices[1])
        fetch(two, devices[1], 2)
        await two.reception.flush()
        await two.devices.update(devices[1], DeviceChange(tags={"name": "pump"}), cause=CAUSE)
    await until(lambda: devices[0].tags == {"name": "pump"})
    one.activities.clear()
    one.clock.shift(STALL)
    one.firmware.sweep()

    assert closed == [one.store.node]
    assert one.names == []


async def attach(cluster: Cluster, **fields: str) -> Device:
    """Let a device attach, by a record at the first node; return it as that node shows it."""
    first = cluster.first
    device = await known(first, imsi=seen(**fields).imsi, imei="")
    first.cellular.accounting.start(seen(imei="", **fields))
    await first.cellular.commit()
    address = seen(**fields).address
    await until(lambda: all(each.directory.device_at(address) for each in cluster.leaders))
    cluster.take()
    return device


async def test_an_attachment_without_reports_times_out_once_although_the_leader_died(cluster: Cluster) -> None:
    """The lifetime follows from the Interim-Updates, which another node had received; the former leader comes back."""
    await attach(cluster)
    cluster.first.cellular.accounting.interim(seen(imei=""))
    await cluster.first.cellular.commit()
    leader, follower = cluster.leaders
    await until(lambda: all(lifetimes(each) == [INTERIM_TIMEOUT] for each in cluster.leaders))
    follower.store.leader.leads = False
    await cluster.wait(INTERIM_TIMEOUT - 1)
    alive = [name for name, _ in cluster.take()]
    leaderless, told = await follow(cluster, leader, follower)
    await until(lambda: all(lifetimes(each) == [] for each in cluster.nodes))

    assert alive == ["clientSilent"]
    assert leaderless == cluster.take() == []
    assert [(name, data["reason"]) for name, data in told] == [("ciotDisconnect", "timeout")]


async def follow(
    cluster: Cluster, leader: FleetBench, follower: FleetBench
) -> tuple[list[tuple[str, dict[str, str]]], list[tuple[str, dict[str, str]]]]:
    """
    Let the leader die, another node lead after two seconds, and the first come back ten seconds after its death.

    Returns:
        The events while no node led, and those of the other node before the first was back.
    """
    cluster.leaders.remove(leader)
    await cluster.wait(2)
    leaderless = cluster.take()
    follower.store.leader.leads = True
    await cluster.wait(8)
    told = cluster.take()
    cluster.leaders.append(leader)
    await cluster.wait(9)
    return leaderless, told


def lifetimes(node: FleetBench) -> list[float]:
    """Return the lifetimes of the attachments that a node shows."""
    return [each.lifetime for each in node.cellular._attachments.index]


async def test_a_silent_device_is_published_once_although_the_leader_died(cluster: Cluster) -> None:
    """The check was due while no node led. A device whose messages another node rejected is not silent."""
    heard = await attach(cluster, session="2", imsi=OTHER_IMSI, address="10.64.0.12")
    await attach(cluster)
    for each in cluster.leaders:
        each.bus.serve(f"node.{cluster.mortal}", cluster.first.others._handle)
    cluster.first.reception.rejections.rejected(
        MessageRejectedReason.TOO_LARGE, device=heard, remote=REMOTE, transport=Transport.UDP
    )
    leader, follower = cluster.leaders
    follower.store.leader.leads = False
    await cluster.wait(299)
    leaderless, told = await follow(cluster, leader, follower)

    assert leaderless == cluster.take() == []
    assert [(name, data["allocatedIp"]) for name, data in told] == [("clientSilent", ADDRESS)]


async def test_timers_wait_for_postgresql(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then each is published once, also if two nodes believe that they lead: by the one that claims it."""
    await attach(cluster)

    async def away(_timers: Timers, _attachments: Sequence[int]) -> set[int]:
        raise StorageUnavailable("PostgreSQL is away")

    with monkeypatch.context() as patch:
        for name in ("check_silence", "end_attachments"):
            patch.setattr(Timers, name, away)
        with pytest.raises(StorageUnavailable):
            await cluster.wait(301)
        with pytest.raises(StorageUnavailable):
            await cluster.wait(86_400)
    meanwhile = cluster.take()
    await cluster.wait(1)

    assert meanwhile == []
    assert sorted(name for name, _ in cluster.take()) == ["ciotDisconnect", "clientSilent"]
