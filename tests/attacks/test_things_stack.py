"""Clients of The Things Stack's API that flood it: strangers at the gRPC port, and holders of a read token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

import aiohttp
import hpack
import pytest

from tests.attacks.bystander import bystander
from tests.attacks.flooding_gateway import frame
from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")
ENHANCE_YOUR_CALM: Final = 11
HEADERS: Final = (
    (":method", "POST"),
    (":scheme", "http"),
    (":authority", "localhost"),
    (":path", "/ttn.lorawan.v3.Events/Stream"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
    ("authorization", "bearer " + "0" * 64),
)
"""A call with an unknown token."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """One server for all floods, since none may leave a trace."""
    with LiveServer(tmp_path_factory.mktemp("server")) as started:
        yield started


def pings() -> bytes:
    """Write pings."""
    return frame(6, 0, 0, bytes(8)) * 500


def settings() -> bytes:
    """Write empty SETTINGS."""
    return frame(4, 0, 0, b"") * 500


def resets() -> Callable[[], bytes]:
    """Return a writer of calls that are reset at once, each with a new number."""
    encoder, number = hpack.Encoder(), -1

    def write() -> bytes:
        nonlocal number
        octets = b""
        for _ in range(50):
            number += 2
            octets += frame(1, 4, number, encoder.encode(HEADERS)) + frame(3, 0, number, (8).to_bytes(4, "big"))
        return octets

    return write


def calls() -> Callable[[], bytes]:
    """Return a writer of whole calls."""
    encoder, number = hpack.Encoder(), -1

    def write() -> bytes:
        nonlocal number
        octets = b""
        for _ in range(50):
            number += 2
            octets += frame(1, 4, number, encoder.encode(HEADERS)) + frame(0, 1, number, bytes(5))
        return octets

    return write


async def flood(server: LiveServer, write: Callable[[], bytes]) -> bytes:
    """Send octets until the server ends the connection; return the last that it sent."""
    host, port = server.addresses["things_stack"].split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    received = b""

    async def read() -> None:
        nonlocal received
        with suppress(ConnectionError):
            while octets := await reader.read(65_536):
                received = (received + octets)[-4096:]

    reading = asyncio.create_task(read())
    writer.write(PREFACE)
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionError):
            while not reading.done():
                writer.write(write())
                await writer.drain()
                await asyncio.sleep(0)
        await reading
    writer.close()
    return received


@pytest.mark.parametrize(
    "attack", [lambda: pings, lambda: settings, resets, calls], ids=["pings", "settings", "resets", "calls"]
)
async def test_a_stranger_that_floods_the_grpc_port_is_cut(server: LiveServer, attack: Any) -> None:
    """Frames without content have a budget; a connection has 1,000 calls in its life."""
    async with bystander(server) as seen:
        await asyncio.gather(*(flood(server, attack()) for _ in range(3)))

    seen.check()
    assert await server.still_serves()
    assert "Traceback" not in server.log


async def test_large_expressions_do_not_hold_up_others(server: LiveServer) -> None:
    """A holder of a read token asks for the largest filters that are accepted, one after the other."""
    collection = await server.add_collection()
    url = f"http://{server.addresses['http']}/api/v3/events"
    identifiers = [{"application_ids": {"application_id": collection}}]
    sent = 0

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal sent
        names = [f"/(?:x{number}.{part}|{'.?' * 80}s)/" for part in range(10)]
        body = json.dumps({"identifiers": identifiers, "names": names})
        async with session.post(url, data=body, headers={"Authorization": f"Bearer {server.token}"}) as reply:
            assert reply.status == 200, await reply.text()
            await reply.content.readline()
        sent += 1

    async with bystander(server) as seen, aiohttp.ClientSession() as session:
        for number in range(0, 60, 4):
            await asyncio.gather(*(ask(session, number + each) for each in range(4)))

    seen.check()
    assert sent == 60
