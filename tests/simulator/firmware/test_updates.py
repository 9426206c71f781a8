"""Fleets that update their firmware from a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from span_events.events.activity import Activity
from span_events.events.catalogue import FirmwareStateChange
from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState
from span_events.fleet.collections import CollectionChange
from span_events.registry.model import Management
from span_events.simulator.coap import Timing
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.firmware.device import Mishap, Outcome, make_image
from span_events.simulator.firmware.updates import Pace, Updates, next_version
from span_events.simulator.simulation import NoTarget, NoUpdate, Simulation, addresses_from
from span_events.simulator.sockets import Address
from span_events.simulator.terminals import Member, Terminal
from tests.bench.servers import CAUSE, Running
from tests.bench.servers import running as serving
from tests.bench.waiting import until
from tests.simulator.test_simulation import running

MEMBERS = tuple(
    Member(address, transport, "1.0.0")
    for address, transport in zip(addresses_from("127.77.3.1", 4), (Transport.COAP, Transport.UDP) * 2, strict=True)
)
PACE = Pace(device=0.001)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    """A server whose four devices should run 1.1.0."""
    async with serving(tmp_path) as server:
        collection = await server.collection()
        for member in MEMBERS:
            await server.device(collection, member.address)
        images = server.server.fleet.images
        async with images.upload(collection) as upload:
            await upload.write(make_image("1.1.0", 5_000))
            image = await images.create(collection, upload, version="1.1.0", cause=CAUSE)
        change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
        await server.server.fleet.collections.update(collection, change, cause=CAUSE)
        yield server


def states(server: Running) -> dict[str, list[FirmwareState]]:
    """Collect the states that devices go through from now on, by address."""
    seen: dict[str, list[FirmwareState]] = {member.address: [] for member in MEMBERS}

    def note(activity: Activity) -> None:
        event = activity.event
        if isinstance(event, FirmwareStateChange):
            device = server.server.fleet.directory.devices[event.origin.device_id or 0]
            before = seen[device.ciot.allocated_ip]
            if before[-1:] != [event.state]:
                before.append(event.state)

    server.server.bus.listen(activities=note)
    return seen


def targets(server: Running) -> Targets:
    """Where the server listens."""

    def of(name: str) -> Address:
        host, _, port = server.server.addresses[name].rpartition(":")
        return host, int(port)

    return Targets(datagrams=of("datagrams"), coap=of("coap"))


async def test_each_device_of_a_fleet_updates_itself_once(server: Running) -> None:
    """Over CoAP, however it sends its messages."""
    seen, told = states(server), list[tuple[str, str]]()
    fleet = Simulation(
        MEMBERS, targets(server), rate=100, pace=PACE, tell=lambda name, sentence: told.append((name, sentence))
    )
    async with running(fleet):
        await until(lambda: fleet.statistics.updated == 4)
        sent = fleet.statistics.sent
        await until(lambda: fleet.statistics.sent > sent + 4)

    assert [*seen.values()] == [["Downloading", "Updating", "Current"]] * 4
    assert sorted(told) == [
        ("firmware", f"{member.address} runs the new version: downloaded 5000 octets (1.1.0), reported 1.1.0")
        for member in MEMBERS
    ]


async def test_faults_of_updates_take_the_place_of_some(server: Running) -> None:
    """The device that stopped goes on when its turn comes again; the one that reverted is done."""
    seen, told = states(server), list[tuple[str, str]]()
    fleet = Simulation(
        MEMBERS,
        targets(server),
        rate=100,
        pace=PACE,
        faults=("stalledDownload", "revertedUpdate"),
        tell=lambda name, sentence: told.append((name, sentence)),
    )
    async with running(fleet):
        await until(lambda: fleet.statistics.updated == 3 and fleet.statistics.faults.total() == 2)

    assert fleet.statistics.faults == {"stalledDownload": 1, "revertedUpdate": 1}
    assert sorted(seen.values()) == [
        ["Downloading", "Pending", "Downloading", "Updating", "Current"],
        ["Downloading", "Updating", "Current"],
        ["Downloading", "Updating", "Current"],
        ["Downloading", "Updating", "UpdateFailed"],
    ]
    assert {name for name, _ in told} == {"firmware", "stalledDownload", "revertedUpdate"}


async def test_a_truncated_report_needs_no_update(server: Running) -> None:
    published: list[str] = []
    fleet = Simulation(
        [replace(MEMBERS[0], version="")],
        targets(server),
        rate=1_000,
        faults=("truncatedReport",),
        fault_pause=0.001,
        tell=lambda _, sentence: published.append(sentence),
    )
    async with running(fleet):
        await until(lambda: bool(published))

    assert published[0].startswith("127.77.3.1 did not get what it asked for: 4.00 to the report: field 2 says ")


async def test_a_device_that_has_another_address_begins_its_download_anew(server: Running) -> None:
    """What it had is the same image, but of a device that the server cannot tell from a new one."""
    first, second = (each.address for each in MEMBERS[:2])
    coap = targets(server).of(Transport.COAP)
    assert coap is not None
    updates = Updates(coap, pace=PACE, timing=Timing())
    terminal = _Movable(MEMBERS[0], coap, Statistics(), core=None, timing=Timing())
    stalled = await updates.update(terminal, Mishap.STALL)
    waits = updates.has_stopped(terminal), updates.is_done
    terminal.where = second
    ended = await updates.update(terminal)
    updates.close()

    assert (terminal.address, first) == ("127.77.3.2", "127.77.3.1")
    assert (stalled.outcome, ended.outcome) == (Outcome.STALLED, Outcome.UPDATED)
    assert waits == (True, False)
    assert server.server.fleet.firmware.downloads.blocks == 6 + 10
    assert terminal.version == "1.1.0"


class _Movable(Terminal):
    """A device that gets another address, as by a mobile core."""

    where = MEMBERS[0].address

    @property
    def address(self) -> str:
        """The address that it has now."""
        return self.where


async def test_a_device_without_an_answer_waits_for_another_turn() -> None:
    """Those that are muted, or off, get none."""
    nobody = ("127.0.0.1", 9)
    updates = Updates(nobody, pace=PACE, timing=Timing(0.001, 1.0, 0))
    terminals = [Terminal(each, nobody, Statistics(), core=None, timing=Timing()) for each in MEMBERS[:2]]
    updates.add(terminals)
    off = updates.next()
    for each in terminals:
        each.open()
    terminals[0].muted = True
    turn = updates.next()
    assert turn is terminals[1]
    ended = await updates.update(turn)
    again = updates.next()
    for each in terminals:
        each.close()

    assert off is None
    assert ended.outcome is Outcome.FAILED
    assert again is turn
    assert updates.is_done


async def test_faults_of_updates_are_refused_where_there_are_none() -> None:
    member = Member("127.77.0.1", Transport.UDP)
    fleet = Simulation(
        [member], Targets(coap=("127.0.0.1", 9), datagrams=("127.0.0.1", 9)), rate=1, faults=("revertedUpdate",)
    )

    with pytest.raises(NoUpdate, match="revertedUpdate happens in a firmware update, but no device updates itself"):
        await fleet.run()


async def test_updates_are_refused_without_coap() -> None:
    fleet = Simulation([Member("127.77.0.1", Transport.UDP, "1.0.0")], Targets(datagrams=("127.0.0.1", 9)), rate=1)

    with pytest.raises(NoTarget, match="no coap listener is known"):
        await fleet.run()


@pytest.mark.parametrize(
    ("versions", "following"),
    [
        ([], "1.1.0"),
        (["", "1.0.0"], "1.1.0"),
        (["1.9.0", "1.10.0", "1.2.0"], "1.11.0"),
        (["2.7.0", "1.3.1", "v1.4.0", "1.5.0-rc1"], "1.1.0"),
    ],
)
def test_the_next_version_is_none_of_the_others(versions: list[str], following: str) -> None:
    assert next_version(versions) == following
