"""Each fault breaks exactly the rule in its name."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from span_events.errors import MalformedMessage
from span_events.events.message import Transport
from span_events.simulator.coap import Timing
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.faults import FAULTS, FLOOD, NEED_COAP, NEED_CORE, NEED_UPDATE, TOO_MANY_OCTETS, meaning_of
from span_events.simulator.scene import Scene
from span_events.simulator.terminals import Member, Terminal
from span_events.wire.coap.messages import Code, decode
from span_events.wire.coap.requests import unsupported_option
from tests.bench.waiting import PATIENCE
from tests.simulator.responder import Responder, block_of, piggybacked

DEVICE = "127.77.0.1"
STRANGER = "127.77.0.0"


@asynccontextmanager
async def scene(server: Responder) -> AsyncIterator[Scene]:
    """A CoAP device whose server is a responder."""
    device = switched_on(server, Transport.COAP)
    yield Scene(device, Targets(coap=server.address), STRANGER, Timing(ack_timeout=PATIENCE))
    device.close()


@asynccontextmanager
async def udp_scene(server: Responder) -> AsyncIterator[Scene]:
    """The same, without CoAP."""
    device = switched_on(server, Transport.UDP)
    yield Scene(device, Targets(datagrams=server.address), STRANGER)
    device.close()


def switched_on(server: Responder, transport: Transport) -> Terminal:
    """Make a device that has its address by hand."""
    device = Terminal(Member(DEVICE, transport), server.address, Statistics(), core=None, timing=Timing())
    device.open()
    return device


async def test_unknown_address_sends_from_an_address_that_no_device_has() -> None:
    with Responder() as server:
        async with udp_scene(server) as each:
            seen = await FAULTS["unknownAddress"](each)
        _, remote = await server.next()

    assert remote[0] == STRANGER
    assert f"{STRANGER}:{remote[1]}" in seen


async def test_unknown_address_over_coap_shows_the_reply() -> None:
    with Responder(piggybacked(Code.FORBIDDEN)) as server:
        async with scene(server) as each:
            seen = await FAULTS["unknownAddress"](each)

    assert seen == f"CoAP from {STRANGER}: 4.03"


async def test_malformed_is_refused_by_the_codec_whatever_it_chooses() -> None:
    with Responder() as server:
        async with scene(server) as each:
            ways = {(await FAULTS["malformed"](each)).partition(":")[0] for _ in range(100)}
        for _ in range(100):
            datagram, remote = await server.next()
            assert remote[0] == DEVICE
            with pytest.raises(MalformedMessage):
                decode(datagram)

    assert len(ways) == 5


async def test_unknown_critical_option_is_well_formed_and_not_served() -> None:
    with Responder(piggybacked(Code.BAD_OPTION)) as server:
        async with scene(server) as each:
            seen = await FAULTS["unknownCriticalOption"](each)

    assert unsupported_option(decode(server.received[0][0])) == 65_001
    assert seen.endswith("4.02")


async def test_block_missing_leaves_out_the_second_block() -> None:
    codes = iter((Code.CONTINUE, Code.REQUEST_ENTITY_INCOMPLETE))

    def answer(datagram: bytes) -> Iterable[bytes]:
        return piggybacked(next(codes))(datagram)

    with Responder(answer) as server:
        async with scene(server) as each:
            seen = await FAULTS["blockMissing"](each)

    assert [block_of(datagram).number for datagram, _ in server.received] == [0, 2]
    assert len({remote for _, remote in server.received}) == 1
    assert seen == "block 0: 2.31; then block 2: 4.08"


@pytest.mark.parametrize("scenery", [scene, udp_scene], ids=["coap", "udp"])
async def test_too_large_is_one_big_datagram(scenery: object) -> None:
    with Responder() as server:
        server.answer = piggybacked(Code.REQUEST_ENTITY_TOO_LARGE) if scenery is scene else lambda _: ()
        async with scene(server) if scenery is scene else udp_scene(server) as each:
            await FAULTS["tooLarge"](each)
        datagram, _ = await server.next()

    assert len(datagram) >= TOO_MANY_OCTETS


async def test_duplicate_sends_the_same_octets_from_the_same_port() -> None:
    with Responder(piggybacked()) as server:
        async with scene(server) as each:
            seen = await FAULTS["duplicate"](each)

    first, again = server.received
    assert first == again
    assert "then the same reply" in seen


@pytest.mark.parametrize("scenery", [scene, udp_scene], ids=["coap", "udp"])
async def test_flood_sends_many_messages_at_once(scenery: object) -> None:
    with Responder() as server:
        async with scene(server) if scenery is scene else udp_scene(server) as each:
            seen = await FAULTS["flood"](each)

    assert seen.startswith(f"{FLOOD} messages at once")
    assert len(server.received) > FLOOD // 2  # the kernel may drop datagrams beyond its buffer


async def test_silent_mutes_its_device_alone() -> None:
    with Responder() as server:
        async with scene(server) as each:
            await FAULTS["silent"](each)

            assert each.device.muted
    assert server.received == []


def test_every_fault_has_a_description() -> None:
    """The sentence is the help text of the command line."""
    assert Counter(meaning_of(name)[-1] for name in FAULTS) == {".": len(FAULTS)}
    assert FAULTS.keys() > NEED_COAP | NEED_CORE
    assert not NEED_COAP & NEED_CORE
    assert NEED_UPDATE < NEED_COAP
