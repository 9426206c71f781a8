"""Clients of MQTT that flood, send half of a packet, never connect, take all places, or stop reading."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import pytest

from tests.attacks.bystander import bystander
from tests.attacks.sockets import connect, receive, send
from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE
from tests.web.mqtt.client import connect_packet, packet, text

PLACES: Final = 40
SETTINGS: Final = {
    "mqtt.connect_timeout": 1,
    "streams.per_address": PLACES,
    "fanout.stalled_after": 0.5,
    "fanout.subscriber_buffer": 8192,
    "fanout.send_buffer": 4608,
}
CONNACK: Final = b"\x20"
SUBACK: Final = b"\x90\4\0\7\0\0"
SUBSCRIBE: Final = packet(0x82, b"\0\7\0" + text("activity/#") + b"\0")
UNSUBSCRIBE: Final = packet(0xA2, b"\0\7\0" + text("activity/#"))
GUEST: Final = "127.0.0.2"
"""Address of the client that attackers at 127.0.0.1 must not keep away."""


@pytest.fixture(scope="module", name="server")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Run one server with short limits for all attacks of this file."""
    with LiveServer(tmp_path_factory.mktemp("server"), SETTINGS) as server:
        yield server


async def joined(
    server: LiveServer, name: str, source: str = "", *, receive_buffer: int | None = None, then: bytes = b""
) -> socket.socket:
    """Connect as a client of MQTT 5."""
    opened = await connect(server, listener="mqtt", source=source, receive_buffer=receive_buffer)
    await send(opened, connect_packet("*", server.token, level=5, client_id=name) + then)
    assert (await receive(opened, SUBACK if then else CONNACK)).startswith(CONNACK)
    return opened


async def served(server: LiveServer) -> None:
    """Make sure that a client at another address can subscribe."""
    guest = await joined(server, "guest", GUEST, then=SUBSCRIBE)
    await send(guest, b"\xc0\0")
    assert b"\xd0\0" in await receive(guest, b"\xd0\0")  # events may surround it
    guest.close()


async def flood(server: LiveServer, name: str, octets: bytes) -> bytes:
    """Send octets until the server cuts the connection; return the last that it sent."""
    opened = await joined(server, name)
    opened.setblocking(False)

    async def pour() -> None:
        with suppress(ConnectionError):
            while True:
                await asyncio.get_running_loop().sock_sendall(opened, octets)

    pouring = asyncio.create_task(pour())
    received = await receive(opened)
    await pouring
    opened.close()
    return received[-200:]


async def test_clients_that_flood_are_disconnected(server: LiveServer) -> None:
    """
    The reason is 0x96, "message rate too high", or one that ends the session before, as the octets arrive.

    Those are a large packet (0x95), a PUBLISH (0x87), and a half packet that ends with octets of the next one (0x82).
    """
    kinds = {
        "subscribe": SUBSCRIBE * 500,
        "both": (SUBSCRIBE + UNSUBSCRIBE) * 500,
        "pings": b"\xc0\0" * 5_000,
        "filters": packet(0x82, b"\0\7\0" + (text("activity/" + "+/" * 40 + "#") + b"\0") * 80) * 20,
        "half packets": b"\x82\xff\x3e" + bytes(8_000),
        "lengths": b"\x82\xff\xff\xff\x7f" * 100,
        "publications": packet(0x30, text("a/b") + b"\0" + bytes(1_000)) * 100,
    }
    async with bystander(server) as seen:
        ends = await asyncio.gather(*(flood(server, name, octets) for name, octets in kinds.items()))
        await served(server)

    seen.check()
    for name, end in zip(kinds, ends, strict=True):
        at = end.rindex(b"\xe0")  # DISCONNECT: a length of one or two octets, then the reason
        assert {end[at + 2], end[at + 3]} & {0x82, 0x87, 0x95, 0x96}, (name, end)
    assert "Traceback" not in server.log


async def test_half_of_a_connect_packet_holds_no_connection(server: LiveServer) -> None:
    """However slowly the rest comes, and whatever length the head has."""
    head = connect_packet("*", server.token, level=5)[:20]

    async def dribble(octets: bytes) -> None:
        opened = await connect(server, listener="mqtt")
        ending = asyncio.create_task(receive(opened))
        for octet in octets:
            await send(opened, bytes((octet,)))
            await asyncio.wait([ending], timeout=0.1)
        async with asyncio.timeout(PATIENCE):
            await ending
        opened.close()

    async with bystander(server) as seen:
        slow = [head, b"\x10\xff\xff\xff\x7f", b"\x10", b"\x10\xff"] * 8
        await asyncio.gather(*(dribble(octets) for octets in slow), served(server))
        await served(server)

    seen.check()
    await server.logged("mqtt_refused")


async def test_one_address_takes_no_more_than_its_places(server: LiveServer) -> None:
    async with bystander(server) as seen:
        opened = [await connect(server, listener="mqtt") for _ in range(PLACES * 3)]
        ends = [asyncio.create_task(receive(each)) for each in opened]
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait(ends[PLACES:], return_when=asyncio.ALL_COMPLETED)
        await served(server)
        held = [each for each in ends if not each.done()]
        await asyncio.gather(*ends)  # those with a place have no CONNECT in time
        for each in opened:
            each.close()

    seen.check()
    assert len(held) <= PLACES
    await server.logged("streams.per_address")


async def test_readers_that_stop_are_disconnected_and_nobody_else_loses_an_event(server: LiveServer) -> None:
    reader = await joined(server, "reader", GUEST, then=SUBSCRIBE)
    reading = asyncio.create_task(receive(reader, b"eventsDropped"))
    async with bystander(server) as seen:
        stalled = [await joined(server, f"c{each}", receive_buffer=4096, then=SUBSCRIBE) for each in range(3)]
        await server.logged("reason=quota_exceeded")
    seen.check()
    for each in stalled:
        each.close()
    await send(reader, b"\xe0\0")
    await reading
    reader.close()

    await server.logged("by=client")
    (left,) = [each for each in server.log.splitlines() if "by=client" in each]
    assert "dropped=0" in left
