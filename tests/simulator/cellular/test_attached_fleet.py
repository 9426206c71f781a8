"""Fleets that get their addresses from a mobile core."""

from __future__ import annotations

import asyncio

import pytest

from span_events.events.message import Transport
from span_events.simulator import simulation as fleets
from span_events.simulator.cellular.mobile_core import MobileCoreUnanswered
from span_events.simulator.devices import Targets
from span_events.simulator.simulation import Simulation
from span_events.simulator.terminals import Member
from tests.bench.waiting import PATIENCE, until
from tests.simulator.cellular.radius_server import QUICK, RadiusServer
from tests.simulator.responder import Responder
from tests.simulator.test_simulation import running

MEMBERS = [Member(f"127.78.0.{number}", Transport.UDP) for number in (1, 2, 3)]
ADDRESSES = [f"127.77.4.{number}" for number in range(1, 9)]


async def test_devices_send_from_their_assigned_addresses() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        fleet = Simulation(MEMBERS, Targets(datagrams=datagrams.address), rate=1_000, core=radius.core())
        async with running(fleet):
            seen: set[str] = set()
            while len(seen) < 3:
                seen.add((await datagrams.next())[1][0])

    started = {imsi: address for what, imsi, address in radius.reported if what == "start"}
    assert started.keys() == {each.modem.imsi for each in MEMBERS}
    assert set(started.values()) == seen == set(ADDRESSES[:3])
    assert fleet.statistics.attached == 3


async def test_no_request_is_sent_before_the_simulation_runs() -> None:
    with RadiusServer() as radius, Responder() as datagrams:
        fleet = Simulation(MEMBERS, Targets(datagrams=datagrams.address), rate=1_000, core=radius.core())
        fleet.bind()
        fleet.close()

    assert radius.authentication.received == radius.accounting.received == []


async def test_a_rejected_device_is_reported_once_and_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on; one corrected meanwhile attaches."""
    monkeypatch.setattr(fleets, "RETRY", 0.01)
    published: list[tuple[str, str]] = []
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        radius.refused.add(MEMBERS[0].modem.imsi)
        fleet = Simulation(
            MEMBERS,
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=radius.core(),
            tell=lambda name, seen: published.append((name, seen)),
        )
        async with running(fleet):
            await until(lambda: fleet.statistics.not_attached >= 3 and fleet.statistics.attached == 2)
            radius.refused.clear()
            await until(lambda: fleet.statistics.attached == 3)

    assert published == [("attach", f"{MEMBERS[0].modem.imsi} is not let in: Not admitted.")]


async def test_an_address_of_another_machine_is_released() -> None:
    published: list[str] = []
    with RadiusServer(addresses=["192.0.2.77", *ADDRESSES]) as radius, Responder() as datagrams:
        fleet = Simulation(
            MEMBERS,
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=radius.core(),
            tell=lambda _, seen: published.append(seen),
        )
        async with running(fleet):
            await until(lambda: fleet.statistics.sent > 3 and bool(published))

    assert "192.0.2.77: cannot send from this address" in published[0]
    assert [address for what, _, address in radius.reported if what == "stop"] == ["192.0.2.77"]


async def test_after_a_reboot_of_the_core_all_devices_attach_again() -> None:
    seen: list[str] = []
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        core = radius.core()
        fleet = Simulation(
            MEMBERS,
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=core,
            tell=lambda name, what: seen.append(f"{name}: {what}"),
        )
        async with running(fleet):
            await until(lambda: fleet.statistics.attached == 3)
            await core.restart(0.0)
            await until(lambda: fleet.statistics.attached == 6)
            datagrams.received.clear()
            await until(lambda: {remote[0] for _, remote in datagrams.received} == set(ADDRESSES[3:6]))

    assert seen == []


async def test_a_device_used_by_a_fault_is_left_alone() -> None:
    """Otherwise the simulation would switch it on in the middle of the fault."""
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        fleet = Simulation(
            MEMBERS[:1],
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=radius.core(),
            faults=("detach",),
            fault_pause=0.001,
            step_pause=0.05,
        )
        async with running(fleet):
            await until(lambda: fleet.statistics.faults["detach"] == 2)
            told = [what for what, _, _ in radius.reported]

    assert told[:9] == ["accounting-on", "ask", "start", *(["stop", "ask", "start"] * 2)]


async def test_a_fault_that_cannot_be_provoked_gives_the_reason() -> None:
    seen: list[tuple[str, str]] = []
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        fleet = Simulation(
            MEMBERS[:1],
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=radius.core(),
            faults=("reassigned",),
            fault_pause=0.001,
            tell=lambda name, what: seen.append((name, what)),
        )
        async with running(fleet):
            await until(lambda: bool(seen))

    assert seen[0] == ("reassigned", "not provoked, that takes a second device that is switched on")
    assert not fleet.statistics.faults


async def test_silent_devices_end_the_simulation_attached() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        core = radius.core()
        fleet = Simulation(
            MEMBERS[:1],
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=core,
            faults=("silent",),
            fault_pause=0.001,
        )
        async with asyncio.timeout(PATIENCE):
            await fleet.run()

    assert fleet.statistics.faults["silent"] == 1
    assert [each.modem for each in core.sessions.values()] == [MEMBERS[0].modem]


async def test_an_unanswered_core_ends_the_simulation_at_once() -> None:
    with RadiusServer() as radius, Responder() as datagrams:
        fleet = Simulation(
            MEMBERS,
            Targets(datagrams=datagrams.address),
            rate=1_000,
            core=radius.core(secret=b"another secret", patience=QUICK),
        )
        with pytest.raises(MobileCoreUnanswered):
            await fleet.run()

    assert datagrams.received == []
