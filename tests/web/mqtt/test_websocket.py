"""MQTT over WebSocket: the same sessions behind frames that hold several packets, or parts of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import WSMsgType

from tests.bench.waiting import PATIENCE, until
from tests.web.conftest import WebBench, web_bench
from tests.web.mqtt.client import connect_packet, packet, text

pytestmark = pytest.mark.asyncio(loop_scope="module")

LIMITS: Final = {"mqtt": {"client_packets": 20.0, "connect_timeout": 5.0}, "streams": {"per_address": 4}}
SUBSCRIBE: Final = packet(0x82, b"\0\7\0" + text("#") + b"\0")
Split = Callable[[bytes], Iterator[bytes]]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="site")
async def shared_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebBench]:
    """One server for all tests of this file."""
    async with web_bench(tmp_path_factory.mktemp("site"), **LIMITS) as found:
        yield found
        await found.mqtt.close()


class Frames:
    """The octets of a WebSocket's binary frames, as a client of MQTT reads them."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._octets = bytearray()

    async def send(self, octets: bytes) -> None:
        """Send a frame."""
        await self.socket.send_bytes(octets)

    async def receive(self) -> bytes:
        """Return the next packet, which has under 128 octets or a length of two."""
        while len(self._octets) < 2 or len(self._octets) < (end := self._end()):
            async with asyncio.timeout(PATIENCE):
                message = await self.socket.receive()
            assert message.type is WSMsgType.BINARY, message
            self._octets += message.data
        found = bytes(self._octets[:end])
        del self._octets[:end]
        return found

    def _end(self) -> int:
        low, high = self._octets[1], self._octets[2] if len(self._octets) > 2 else 0
        return 2 + low if low < 128 else 3 + (low & 127) + high * 128

    async def end(self) -> tuple[int | None, str]:
        """Return code and reason of the server's close frame."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.socket.receive()).type is WSMsgType.BINARY:
                pass
        return self.socket.close_code, str(message.extra or "")


@asynccontextmanager
async def joined(site: WebBench, **options: Any) -> AsyncIterator[Frames]:
    """Open a WebSocket."""
    protocols = options.pop("protocols", ("mqtt",))
    async with site.session.ws_connect(f"{site.url}/mqtt", protocols=protocols, **options) as socket:
        assert socket.protocol == "mqtt"
        yield Frames(socket)
    await until(lambda: metric(site, "mqtt_connections") == 0)


def metric(site: WebBench, name: str) -> Any:
    """Return the value of a metric."""
    return next(each.value() for each in site.mqtt.metrics() if each.name == name)


def whole(octets: bytes) -> Iterator[bytes]:
    """All packets in one frame."""
    yield octets


def apart(octets: bytes) -> Iterator[bytes]:
    """Seven octets in a frame, whatever packets begin or end inside."""
    for begin in range(0, len(octets), 7):
        yield octets[begin : begin + 7]


@pytest.mark.parametrize("split", [whole, apart])
async def test_packets_are_taken_however_frames_split_them(site: WebBench, split: Split) -> None:
    collection = str((await site.call("POST", "/span/collections", json={})).body["collectionId"])
    device = await site.device(collection)
    async with joined(site) as client:
        for frame in split(connect_packet("*", site.admin, level=5) + SUBSCRIBE + b"\xc0\0"):
            await client.send(frame)
        answers = [await client.receive() for _ in range(3)]
        site.receive(device, b"hello")
        publication = await client.receive()

    assert [each[0] for each in answers] == [0x20, 0x90, 0xD0]
    assert answers[0][3] == 0
    assert publication[0] == 0x30
    assert text(f"{collection}/{device}") in publication
    assert b'"payload":"aGVsbG8="' in publication


async def test_clients_over_tcp_and_websocket_share_a_group(site: WebBench) -> None:
    """Two sessions of one form differ by their frames only: each event is written once for each kind."""
    async with joined(site) as first, joined_second(site) as second:
        for number, client in enumerate((first, second)):
            await client.send(connect_packet("*", site.admin, level=4, client_id=f"c{number}"))
            await client.receive()
            await client.send(packet(0x82, b"\0\7" + text("#") + b"\0"))
            await client.receive()
        groups = {id(each.group) for each in site.hub}

    assert len(groups) == 1


@asynccontextmanager
async def joined_second(site: WebBench) -> AsyncIterator[Frames]:
    """Open another WebSocket beside one that stays open."""
    async with site.session.ws_connect(f"{site.url}/mqtt", protocols=("mqtt",)) as socket:
        yield Frames(socket)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"\xe0\0", 1000),
        (packet(0x30, text("a/b") + b"\0hello"), 1008),
        (bytes.fromhex("8200"), 1002),
        (bytes.fromhex("82808004"), 1008),
        (b"\xc0\0" * 41, 1008),
    ],
    ids=["disconnect", "publish", "malformed", "too large", "flood"],
)
async def test_the_end_of_a_session_is_a_close_frame_with_a_code(site: WebBench, octets: bytes, code: int) -> None:
    async with joined(site) as client:
        await client.send(connect_packet("*", site.admin, level=5))
        await client.receive()
        await client.send(octets)

        assert (await client.end())[0] == code


async def test_a_refused_connect_has_a_connack_and_a_close_frame(site: WebBench) -> None:
    async with joined(site) as client:
        await client.send(connect_packet("*", "0" * 64, level=4))

        assert await client.receive() == b"\x20\2\0\4"
        assert (await client.end())[0] == 1008


async def test_a_text_frame_ends_the_connection(site: WebBench) -> None:
    """MQTT 5, 6.0-1."""
    async with joined(site) as client:
        await client.socket.send_str("hello")

        assert (await client.end())[0] == 1003


async def test_a_client_without_a_connect_packet_is_disconnected(site: WebBench) -> None:
    async with joined(site) as client:
        await until(lambda: metric(site, "mqtt_connections") == 1)
        site.fleet.clock.shift(6)
        site.mqtt.sweep(site.fleet.clock.monotonic())

        assert (await client.end())[0] == 1008


async def test_a_flood_of_empty_frames_is_closed(site: WebBench) -> None:
    """They hold no packets, which have a budget of their own."""
    async with joined(site) as client:
        for _ in range(200):
            await client.send(b"")

        assert (await client.end())[0] == 1008


@pytest.mark.parametrize(
    ("headers", "protocols", "status"),
    [({}, (), 400), ({}, ("mqttv3.1",), 400), ({"Origin": "http://evil.example"}, ("mqtt",), 403)],
)
async def test_a_handshake_that_is_refused_says_why(
    site: WebBench, headers: dict[str, str], protocols: tuple[str, ...], status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await site.session.ws_connect(f"{site.url}/mqtt", protocols=protocols, headers=headers)

    assert refused.value.status == status


async def test_a_page_that_is_no_websocket_learns_what_the_url_is(site: WebBench) -> None:
    assert (await site.call("GET", "/mqtt", token=None)).problem[0] == 426


async def test_an_address_has_only_so_many_connections(site: WebBench) -> None:
    async with joined(site), joined_second(site), joined_second(site), joined_second(site):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await site.session.ws_connect(f"{site.url}/mqtt", protocols=("mqtt",))

    assert refused.value.status == 429


async def test_a_revoked_token_and_the_servers_end_close_the_connection(tmp_path: Path) -> None:
    async with web_bench(tmp_path) as site:
        token, secret = await site.tokens.create(resource="/", write=False)
        async with joined_second(site) as first, joined_second(site) as second:
            for client, password in ((first, secret), (second, site.admin)):
                await client.send(connect_packet("*", password, level=5) + SUBSCRIBE)
                assert [(await client.receive())[0] for _ in range(2)] == [0x20, 0x90]
            await site.tokens.delete(token.id)
            site.mqtt.revoke(await site.tokens.refresh(), "the token was revoked")
            ends = [await first.receive(), (await first.end())[0]]
            closing = asyncio.create_task(site.mqtt.close())
            ends += [await second.receive(), (await second.end())[0]]
        await closing

    assert [each[2] if isinstance(each, bytes) else each for each in ends] == [0x87, 1008, 0x8B, 1001]
