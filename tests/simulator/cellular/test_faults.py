"""Each fault of the mobile network happens as named, and leaves its device switched on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from span_events.events.message import Transport
from span_events.simulator.coap import Timing
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.faults import FAULTS
from span_events.simulator.scene import NotPossible, Scene
from span_events.simulator.terminals import Member, Terminal
from tests.simulator.cellular.radius_server import QUICK, RadiusServer
from tests.simulator.responder import Responder

FIRST = Member("127.78.0.1", Transport.UDP)
SECOND = Member("127.78.0.2", Transport.UDP)
ADDRESSES = [f"127.77.3.{number}" for number in range(1, 9)]


@asynccontextmanager
async def scene(
    radius: RadiusServer,
    datagrams: Responder,
    *,
    devices: tuple[Member, ...] = (FIRST, SECOND),
    impatient: bool = False,
) -> AsyncIterator[Scene]:
    """Devices attached one by one to a mobile core."""
    core = radius.core(patience=QUICK if impatient else None)
    await core.start()
    terminals = [Terminal(each, datagrams.address, Statistics(), core=core, timing=Timing()) for each in devices]
    for each in terminals:
        await each.switch_on()
    radius.reported.clear()
    yield Scene(
        terminals[0],
        Targets(datagrams=datagrams.address),
        "127.78.0.0",
        core=core,
        neighbour=terminals[1] if len(terminals) > 1 else None,
    )
    for each in terminals:
        each.close()


@pytest.mark.parametrize("fault", ["imsiMismatch", "imeiMismatch"])
async def test_a_mismatch_has_one_number_of_the_device_and_one_unknown_number(fault: str) -> None:
    """The device is switched off as for a change of its SIM, and is on again afterwards."""
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            own = FIRST.modem
            await FAULTS[fault](each)
            is_on = each.device.is_on
        first = await datagrams.next()

    told = [what for what, _, _ in radius.reported]
    _, asked = radius.requests[-4]
    assert told == ["stop", "ask", "start", "stop", "ask", "start"]
    assert asked.equipment is not None
    assert (asked.imsi == own.imsi, asked.equipment.imei == own.imei) == (
        (False, True) if fault == "imsiMismatch" else (True, False)
    )
    assert radius.reported[-1][1] == own.imsi
    assert is_on
    assert first[1][0] == radius.reported[-1][2]


async def test_a_fault_reports_whether_a_modem_was_accepted() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            let_in = await FAULTS["unknownSim"](each)
            radius.addresses = iter(())
            refused = await FAULTS["unknownSim"](each)

    assert ": let in with 127.77.3.3" in let_in
    assert ": not let in (The server gives no IPv4 address" in refused


async def test_an_unknown_sim_is_in_unknown_hardware_and_leaves_the_device_alone() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            await FAULTS["unknownSim"](each)

    _, asked = radius.requests[-1]
    assert asked.equipment is not None
    assert asked.imsi not in (FIRST.modem.imsi, SECOND.modem.imsi)
    assert asked.equipment.imei not in (FIRST.modem.imei, SECOND.modem.imei)
    assert radius.reported == [
        ("ask", asked.imsi, ""),
        ("start", asked.imsi, "127.77.3.3"),
        ("stop", asked.imsi, "127.77.3.3"),
    ]


async def test_a_device_that_detaches_comes_back_and_sends() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            seen = await FAULTS["detach"](each)
        _, remote = await datagrams.next()

    assert [what for what, _, _ in radius.reported] == ["stop", "ask", "start"]
    assert remote[0] == "127.77.3.3"
    assert seen == "127.77.3.1 was switched off and on, and has 127.77.3.3"


async def test_an_address_is_reassigned_without_a_stop() -> None:
    """F08: the server learns it only from the Start of the other device."""
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            await FAULTS["reassigned"](each)
        senders = [(await datagrams.next())[1][0] for _ in range(2)]

    assert radius.reported == [
        ("stop", SECOND.modem.imsi, "127.77.3.2"),
        ("ask", SECOND.modem.imsi, ""),
        ("start", SECOND.modem.imsi, "127.77.3.1"),
        ("ask", FIRST.modem.imsi, ""),
        ("start", FIRST.modem.imsi, "127.77.3.4"),
    ]
    assert senders == ["127.77.3.1", "127.77.3.4"]


async def test_one_device_alone_cannot_lose_its_address_to_another() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams, devices=(FIRST,)) as each:
            with pytest.raises(NotPossible, match="second device"):
                await FAULTS["reassigned"](each)

    assert radius.reported == []


async def test_a_reboot_of_the_core_ends_every_session() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            assert each.neighbour is not None
            seen = await FAULTS["nasReboot"](each)

            assert not each.device.is_on
            assert not each.neighbour.is_on
    assert radius.reported == [("accounting-off", "", ""), ("accounting-on", "", "")]
    assert seen == "the mobile core ended 2 sessions"


async def test_a_wrong_secret_gets_no_answer_and_leaves_the_device_alone() -> None:
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams, impatient=True) as each:
            seen = await FAULTS["wrongSecret"](each)
            is_on = each.device.is_on

    assert radius.dropped == 1
    assert radius.reported == []
    assert is_on
    assert seen.endswith("no answer")


async def test_a_silent_device_attaches_and_sends_nothing() -> None:
    """F03: clientSilent requires an attachment."""
    with RadiusServer(addresses=ADDRESSES) as radius, Responder() as datagrams:
        async with scene(radius, datagrams) as each:
            await FAULTS["silent"](each)

            assert each.device.muted
    assert [what for what, _, _ in radius.reported] == ["stop", "ask", "start"]
    assert datagrams.received == []
