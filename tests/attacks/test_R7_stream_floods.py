"""R5, R7, R8, R13: subscribers that send what no stream expects."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from tests.attacks.bystander import bystander
from tests.attacks.sockets import connect, open_stream, receive, send, upgrade
from tests.bench.live import LiveServer
from tests.wire.test_client_frames import frame

PING: Final = b"\x89\x80\0\0\0\0"


async def flood(server: LiveServer, octets: bytes) -> bytes:
    """Send octets again and again until the server cuts the connection; return the last that it sent."""
    opened = await open_stream(server)
    await send(opened, frame(0x01))  # what follows may continue this message

    async def pour() -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.sock_sendall(opened, octets)
            except ConnectionError:
                return

    pouring = asyncio.create_task(pour())
    received = await receive(opened)
    await pouring
    opened.close()
    return received[-200:]


@pytest.mark.parametrize(
    "octets",
    [
        PING * 2000,
        frame(0x80, b"x") + frame(0x81, b"x") * 2000 + frame(0x01),
        frame(0x80) + frame(0x82, b"x" * 4000) * 20 + frame(0x01),
        frame(0x00) * 2000,
    ],
    ids=["pings", "texts", "octets", "fragments"],
)
async def test_security_R7_a_subscriber_that_floods_is_closed_with_1008(server: LiveServer, octets: bytes) -> None:
    async with bystander(server) as seen:
        ends = await asyncio.gather(*(flood(server, octets) for _ in range(3)))

    seen.check()
    assert all((1008).to_bytes(2, "big") + b"too many frames" in each for each in ends), ends
    await server.logged("by=server code=1008")


async def test_security_R5_pings_and_a_reset_leave_no_traceback(server: LiveServer) -> None:
    async with bystander(server) as seen:
        for _ in range(50):
            opened = await connect(server, resets=True)
            await send(opened, upgrade(server) + PING * 50)
            opened.close()
        for _ in range(20):
            opened = await open_stream(server, resets=True)
            await send(opened, PING * 50)
            opened.close()

    seen.check()
    await server.still_serves()
    assert "Traceback" not in server.log


async def test_security_R8_an_unmasked_frame_ends_the_stream_with_1002(server: LiveServer) -> None:
    opened = await open_stream(server)
    await send(opened, b"\x81\x05hello")
    received = await receive(opened)
    opened.close()

    assert b"\x03\xeathe frame is not masked" in received


async def test_security_R13_a_message_of_4096_octets_is_taken(server: LiveServer) -> None:
    opened = await open_stream(server)
    await send(opened, frame(0x82, b"x" * 4096) + frame(0x89, b"still there?"))
    received = await receive(opened, b"still there?")
    await send(opened, frame(0x82, b"x" * 4097))
    ended = await receive(opened)
    opened.close()

    assert received.endswith(b"\x8a\x0cstill there?")
    assert b"\x03\xf1a message is over 4096 octets" in ended
