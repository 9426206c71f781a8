"""Garbage at every port: the server goes on, and says little about it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import aiohttp

from span_events.wire.coap.messages import Code, Option, Type
from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE
from tests.listeners.coap.bench import RawClient, get, post

DATAGRAMS: Final = 10_000
"""From each sender to each port; scripts/bench sends ten times as many."""
AT_ONCE: Final = 100
"""Datagrams that surely fit into the socket's buffer: what the kernel drops tests nothing."""
PUBLISHED: Final = DATAGRAMS // 10
"""Rejections published in four floods: some of each cause, then one a window; a slow machine has more windows."""
LOGGED: Final = 100_000
"""Octets that standard error may have for all of it."""
TEMPLATES: Final = (
    post(b"temperature=21.5"),
    post(b"x" * 64, options=((Option.BLOCK1, b"\x0a"),)),
    post(b"x" * 64, options=((Option.BLOCK1, b"\x1a"),), kind=Type.NON),
    get(options=((Option.BLOCK2, b"\x12"),)),
    get(path=".well-known/core", options=((Option.OBSERVE, b""),)),
    post(options=((Option.CONTENT_FORMAT, b"\x32"), (65_001, b"critical"))),
    post(kind=Type.ACK, code=Code.CONTENT),
    post(kind=Type.RST, code=Code.EMPTY),
    bytes.fromhex("4000feed"),
)


def garbage() -> Iterator[bytes]:
    """Make datagrams: random octets, and messages that are cut, changed, doubled or not harmed at all."""
    generator = random.Random(2)  # the same ones each time

    def mutated() -> bytes:
        octets = bytearray(generator.choice(TEMPLATES))
        octets[2:4] = generator.randbytes(2)  # the message id
        for _ in range(generator.randrange(3)):
            octets[generator.randrange(len(octets))] = generator.randrange(256)
        if generator.random() < 0.2:
            del octets[generator.randrange(len(octets)) :]
        if generator.random() < 0.2:
            octets += generator.choice(TEMPLATES)
        return bytes(octets)

    makers: tuple[Callable[[], bytes], ...] = (
        mutated,
        mutated,
        mutated,
        lambda: generator.randbytes(generator.randrange(80)),
        lambda: generator.randbytes(generator.randrange(2000)) if generator.random() < 0.1 else b"",
    )
    for number in range(DATAGRAMS):
        yield generator.randbytes(65_507) if number % 1000 == 999 else makers[number % len(makers)]()


async def taken(session: aiohttp.ClientSession) -> dict[str, int]:
    """Read from the metrics how many datagrams came in at each port, and how many defects they found."""
    async with session.get("/metrics") as response:
        text = await response.text()

    def sum_of(pattern: str) -> int:
        values = re.findall(rf"^span_events_{pattern} (\S+)$", text, re.MULTILINE)
        assert values, f"no {pattern} in the metrics"
        return sum(int(float(value)) for value in values)

    return {
        "datagrams": sum_of(r'datagrams_received_total\{listener="datagrams"\}'),
        "coap": sum_of(r'coap_messages_total\{outcome="received"\}'),
        "defects": sum_of(r"\w+_defects_total") + sum_of("sink_failures_total"),
    }


async def flood(session: aiohttp.ClientSession, sender: RawClient, listener: str) -> None:
    """Send garbage to a port, no faster than the server takes it."""
    before = (await taken(session))[listener]
    for number, datagram in enumerate(garbage(), start=1):
        sender.send(datagram)
        if number % AT_ONCE == 0:
            async with asyncio.timeout(PATIENCE):
                while (await taken(session))[listener] < before + number:
                    pass


async def test_garbage_stops_no_service_and_fills_no_log(tmp_path: Path) -> None:
    """From devices and from strangers, to each port; defects are counted, and there are none."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        async with (
            aiohttp.ClientSession(f"http://{server.addresses['http']}") as session,
            server.tail(query={"event": "/^(messageRejected|deviceCreated)$/"}) as tail,
        ):
            for listener in ("datagrams", "coap"):
                for address in (device.address, server.free_address()):
                    with closing(server.socket_at(address, listener)) as sender:
                        await flood(session, sender, listener)
            well = await server.still_serves()
            counted = await taken(session)
            await tail.until("deviceCreated")  # of the device that still_serves made
        server.stop()

    assert well
    assert counted["datagrams"] >= 2 * DATAGRAMS
    assert counted["coap"] >= 2 * DATAGRAMS
    assert counted["defects"] == 0
    assert "Traceback" not in server.log
    assert len(server.log) < LOGGED
    assert {"malformed", "rateLimited", "unknownAddress"} <= {event["data"]["reason"] for event in tail.seen[:-1]}
    assert len(tail.seen) < PUBLISHED
