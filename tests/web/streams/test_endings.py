"""Ends of streams, and clients that vanish."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.bench.servers import Running, activity, connections, names, running, stalled_client
from tests.bench.waiting import until


async def test_a_disconnected_client_does_not_stop_the_pings_of_other_clients(
    site: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a moment the connection is closed and its stream does not know; uvloop refuses writes then."""

    class Gone:
        def is_closing(self) -> bool:
            return True

        def get_write_buffer_size(self) -> int:
            return 0

        def write(self, data: bytes) -> None:
            raise RuntimeError("the handler is closed")

    collection = await site.collection()
    async with site.stream(activity(collection)), site.stream(activity(collection)):
        await site.joined(2)
        gone, alive = site.server.subscribers.streams._connections
        monkeypatch.setattr(gone, "transport", Gone())
        site.server.subscribers.streams._connections = [gone, alive]  # type: ignore[assignment]  # in this order
        site.server.subscribers.streams._next_ping = 0.0
        alive.reader.alive = True
        await site.server.subscribers.streams.sweep(1.0)
        pinged = not alive.reader.alive
        site.server.subscribers.streams._connections = {gone, alive}
        monkeypatch.undo()

    assert pinged


async def test_an_expired_token_ends_its_streams(site: Running) -> None:
    """1008 within a second; the streams of other tokens go on."""
    collection = await site.collection()
    _, text = await site.server.tokens.create(resource="/", write=False, lifetime=10)
    async with site.stream(activity(collection), token=text) as doomed, site.stream(activity(collection)) as other:
        await site.joined(2)
        await site.clock.advance(10)
        await site.ended(doomed)
        await site.device(collection)

        assert (doomed.close_code, doomed.close_reason) == (1008, "the token has expired")
        assert await names(other, 1) == ["deviceCreated"]


async def test_a_revoked_token_ends_its_streams(site: Running) -> None:
    """1008, soon after the deletion; the streams of other tokens go on."""
    collection = await site.collection()
    token, text = await site.server.tokens.create(resource="/", write=False)
    async with site.stream(activity(collection), token=text) as doomed, site.stream(activity(collection)) as other:
        await site.joined(2)
        await site.server.tokens.delete(token.id)
        await site.clock.advance(1)
        with pytest.raises(ConnectionClosed):
            await doomed.recv()
        await site.device(collection)

        assert (doomed.close_code, doomed.close_reason) == (1008, "the token was revoked")
        assert await names(other, 1) == ["deviceCreated"]


async def test_shutdown_closes_streams_with_1001(tmp_path: Path) -> None:
    """1001 to every stream, after all published events."""
    async with running(tmp_path) as site:
        collection = await site.collection()
        stream = await site.stream(activity(collection))
        await site.joined(1)
        await site.device(collection)

    assert await names(stream, 1) == ["deviceCreated"]
    with pytest.raises(ConnectionClosed):
        await stream.recv()
    assert stream.close_code == 1001


async def test_a_client_that_answers_pings_stays(site: Running) -> None:
    """A ping every 30 s; the library answers by itself."""
    collection = await site.collection()
    async with site.stream(activity(collection), ping_interval=None) as stream:
        await site.joined(1)
        for _ in range(5):
            await site.clock.advance(31)
            connection = next(iter(site.server.subscribers.streams._connections))
            await until(lambda connection=connection: connection.reader.alive)  # type: ignore[misc]
        await site.device(collection)

        assert await names(stream, 1) == ["deviceCreated"]


async def test_a_client_that_answers_no_ping_is_disconnected(site: Running) -> None:
    """A client that vanished without a close frame frees its place after two intervals."""
    collection = await site.collection()
    reader, writer = await _open_by_hand(site, activity(collection))
    await site.joined(1)
    await site.clock.advance(31)
    ping = await reader.readexactly(2)
    await site.clock.advance(31)
    await site.joined(0)
    writer.close()

    assert ping == b"\x89\x00"


_UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


async def _open_by_hand(site: Running, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: {site.http}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"X-API-Token: {site.token}\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer


async def test_a_client_that_closes_without_reading_the_past_is_cut(tmp_path: Path) -> None:
    """The octets that wait for it would hold its connection for as long as it likes."""
    settings = {"events": {"history_per_collection": 3000}, "streams": {"max_tail": 3000}}
    async with running(tmp_path, fanout={"send_buffer": 4096}, **settings) as site:
        collection = await site.collection()
        device = await site.device(collection)
        for _ in range(2500):
            site.receive(device)
        client = stalled_client(site, f"{activity(collection)}?tail=3000", _UPGRADE)
        await site.joined(1)
        client.sendall(b"\x88\x80\0\0\0\0")
        await until(lambda: not connections(site))
        client.close()


async def test_client_frames_are_ignored_within_bounds(site: Running) -> None:
    """Text that is no filter does no harm, pings are answered, a huge message ends the stream (1009)."""
    collection = await site.collection()
    async with site.stream(activity(collection)) as stream:
        await site.joined(1)
        await stream.send("hello")
        await (await stream.ping())
        await site.device(collection)
        seen = await names(stream, 1)
        await stream.send("x" * 100_000)
        await _closed(stream)

        assert (seen, stream.close_code) == (["deviceCreated"], 1009)


async def _closed(stream: ClientConnection) -> None:
    with pytest.raises(ConnectionClosed):
        await stream.recv()


async def test_a_client_that_disconnects_frees_its_place(site: Running) -> None:
    """In an orderly way and without a word."""
    collection = await site.collection()
    async with site.stream(activity(collection)):
        await site.joined(1)
    await site.joined(0)
    _, writer = await _open_by_hand(site, activity(collection))
    await site.joined(1)
    writer.transport.abort()
    await site.joined(0)

    assert site.server.hub.buffered == 0
