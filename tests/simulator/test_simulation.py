"""Fleets of devices over real sockets."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from span_events.events.message import Transport
from span_events.simulator.coap import Timing
from span_events.simulator.devices import CoapDevice, Statistics, Targets
from span_events.simulator.simulation import NoTarget, Simulation, addresses_from, stranger_to
from span_events.simulator.sockets import AddressUnavailable
from span_events.simulator.terminals import Member
from span_events.wire.coap.messages import Code
from tests.bench.ports import free_port
from tests.bench.waiting import PATIENCE
from tests.simulator.responder import Responder, piggybacked


@asynccontextmanager
async def running(fleet: Simulation) -> AsyncIterator[asyncio.Task[None]]:
    """Run a fleet in the background, cancel it at the end."""
    task = asyncio.create_task(fleet.run())
    yield task
    task.cancel()
    await asyncio.wait((task,))


async def test_every_device_sends_from_its_own_address() -> None:
    members = [Member(address, Transport.UDP) for address in addresses_from("127.77.9.1", 3)]
    with Responder() as server:
        async with running(Simulation(members, Targets(datagrams=server.address), rate=2_000)):
            seen: set[str] = set()
            while len(seen) < 3:
                _, remote = await server.next()
                seen.add(remote[0])

    assert seen == {"127.77.9.1", "127.77.9.2", "127.77.9.3"}


async def test_replies_to_a_udp_device_are_counted() -> None:
    with Responder(lambda _: [b"down"]) as server:
        fleet = Simulation([Member("127.77.0.1", Transport.UDP)], Targets(datagrams=server.address), rate=1_000)
        async with running(fleet):
            while fleet.statistics.downstream < 2:
                await server.next()

    assert fleet.statistics.downstream_octets == 4 * fleet.statistics.downstream


@pytest.mark.parametrize(
    ("code", "payload", "field"), [(Code.CREATED, b"", "answered"), (Code.CREATED, b"down", "downstream")]
)
async def test_replies_to_a_coap_device_are_counted(code: Code, payload: bytes, field: str) -> None:
    with Responder(piggybacked(code, payload)) as server:
        fleet = Simulation([Member("127.77.0.1", Transport.COAP)], Targets(coap=server.address), rate=1_000)
        async with running(fleet):
            while not getattr(fleet.statistics, field):
                await server.next()

    assert fleet.statistics.retransmissions == 0


async def test_refusals_are_counted_by_their_code() -> None:
    with Responder(piggybacked(Code.TOO_MANY_REQUESTS)) as server:
        fleet = Simulation([Member("127.77.0.1", Transport.COAP)], Targets(coap=server.address), rate=1_000)
        async with running(fleet):
            while not fleet.statistics.refused:
                await server.next()

    assert set(fleet.statistics.refused) == {"4.29"}
    assert fleet.statistics.answered == 0


async def test_a_server_that_never_answers_is_counted_after_all_retransmissions() -> None:
    with Responder() as server:
        timing = Timing(ack_timeout=0.001)
        fleet = Simulation(
            [Member("127.77.0.1", Transport.COAP)], Targets(coap=server.address), rate=1_000, timing=timing
        )
        async with running(fleet):
            while not fleet.statistics.unanswered:
                await server.next()

    assert fleet.statistics.retransmissions >= 4


async def test_a_closed_port_is_noticed() -> None:
    """The kernel reports it by ICMP; a simulation without a server must not look healthy."""
    nobody = ("127.0.0.1", free_port())
    statistics = Statistics()
    device = CoapDevice("127.77.0.1", nobody, statistics, timing=Timing(ack_timeout=0.05, max_retransmit=0))
    await device.send(b"anybody there?")
    device.close()

    assert (statistics.unreachable, statistics.unanswered, statistics.answered) == (1, 1, 0)


async def test_faults_are_provoked_in_turn_and_reported() -> None:
    seen: list[str] = []
    enough = asyncio.Event()

    def note(name: str, _: str) -> None:
        seen.append(name)
        if len(seen) == 3:
            enough.set()

    with Responder(lambda datagram: piggybacked()(datagram) if datagram[0] >> 6 == 1 else ()) as server:
        fleet = Simulation(
            [Member("127.77.0.1", Transport.COAP)],
            Targets(coap=server.address),
            rate=0.001,
            faults=("duplicate", "unknownCriticalOption"),
            fault_pause=0.001,
            tell=note,
        )
        async with running(fleet), asyncio.timeout(PATIENCE):
            await enough.wait()

    assert seen[:3] == ["duplicate", "unknownCriticalOption", "duplicate"]
    assert fleet.statistics.faults["duplicate"] == 2


async def test_a_fleet_ends_when_every_device_is_silent() -> None:
    with Responder() as server:
        fleet = Simulation(
            [Member("127.77.0.1", Transport.UDP)],
            Targets(datagrams=server.address),
            rate=1_000,
            faults=("silent",),
            fault_pause=0.001,
        )
        async with asyncio.timeout(PATIENCE):
            await fleet.run()

    assert fleet.statistics.faults["silent"] == 1


async def test_an_address_of_another_machine_is_refused_with_advice() -> None:
    fleet = Simulation([Member("192.0.2.1", Transport.UDP)], Targets(datagrams=("127.0.0.1", 9)), rate=1)
    with pytest.raises(AddressUnavailable, match=r"192\.0\.2\.1") as caught:
        await fleet.run()

    assert "127.0.0.0/8" in caught.value.hint


async def test_a_fleet_that_cannot_be_bound_keeps_no_socket() -> None:
    """Bound before anything is made elsewhere; one address that is not there ends it for all."""
    members = [Member("127.77.0.1", Transport.UDP), Member("192.0.2.1", Transport.UDP)]
    fleet = Simulation(members, Targets(datagrams=("127.0.0.1", 9)), rate=1)
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(AddressUnavailable):
        fleet.bind()

    assert set(os.listdir("/proc/self/fd")) == before


async def test_a_fleet_that_is_bound_sends_nothing_before_it_runs() -> None:
    with Responder() as server:
        fleet = Simulation([Member("127.77.0.1", Transport.UDP)], Targets(datagrams=server.address), rate=1_000)
        fleet.bind()
        fleet.bind()
        before = list(server.received)
        async with running(fleet):
            await server.next()

    assert before == []


async def test_faults_at_the_mobile_core_are_refused_without_one() -> None:
    members = [Member("127.77.0.1", Transport.UDP)]
    fleet = Simulation(members, Targets(datagrams=("127.0.0.1", 9)), rate=1, faults=("detach",))

    with pytest.raises(NoTarget, match="detach happens at the mobile core, but no radius listener is known"):
        await fleet.run()


@pytest.mark.parametrize(("transport", "faults"), [(Transport.COAP, ()), (Transport.UDP, ("malformed",))])
async def test_faults_that_need_coap_are_refused_without_it(transport: Transport, faults: tuple[str, ...]) -> None:
    fleet = Simulation([Member("127.77.0.1", transport)], Targets(datagrams=("127.0.0.1", 9)), rate=1, faults=faults)

    with pytest.raises(NoTarget, match="no coap listener is known"):
        await fleet.run()


def test_targets_that_mean_all_addresses_become_loopback() -> None:
    """A server bound to 0.0.0.0 is reached at 127.0.0.1; 0.0.0.0 is no destination."""
    assert Targets(coap=("0.0.0.0", 5683)).coap == ("127.0.0.1", 5683)


def test_addresses_follow_one_another() -> None:
    assert addresses_from("127.77.0.254", 3) == ["127.77.0.254", "127.77.0.255", "127.77.1.0"]
    with pytest.raises(ValueError, match="beyond"):
        addresses_from("127.255.255.254", 3)


@pytest.mark.parametrize(
    ("addresses", "stranger"),
    [(["127.77.0.2", "127.77.0.1"], "127.77.0.0"), (["127.0.0.1"], "127.0.0.2")],
)
def test_the_stranger_is_none_of_the_devices(addresses: list[str], stranger: str) -> None:
    """Below the first, because a longer fleet of an earlier run would have the next ones."""
    assert stranger_to(addresses) == stranger
