"""Input that one connection sends at once is parsed in parts, and other sockets are served between them."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop
from aiohttp import web
from structlog.testing import capture_logs

from span_events.web.streams.reading import Reader
from tests.bench.servers import Running, running
from tests.bench.waiting import until
from tests.web.test_tls import trusting
from tests.wire.test_client_frames import frame

PART = 16_384
FLOOD = frame(0x89) * 4_000


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Running]:
    """A server."""
    async with running(tmp_path) as opened:
        yield opened


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lengths of the input, as aiohttp's parser gets it."""
    found: list[int] = []
    parse = web.RequestHandler.data_received

    def note(connection: web.RequestHandler, data: bytes) -> None:
        found.append(len(data))
        parse(connection, data)

    monkeypatch.setattr(web.RequestHandler, "data_received", note)
    return found


async def opened(site: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the HTTP port."""
    host, _, port = site.http.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def stream(site: Running) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a WebSocket."""
    reader, writer = await opened(site)
    writer.write(
        f"GET /span/activity HTTP/1.1\r\nHost: a\r\nX-API-Token: {site.token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    return reader, writer


def padded_post(site: Running) -> bytes:
    """Write a request that makes a collection, with a long body."""
    body = b"{}" + b" " * 3 * PART
    head = f"POST /span/collections HTTP/1.1\r\nHost: a\r\nX-API-Token: {site.token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def answers(site: Running, octets: bytes, count: int) -> list[bytes]:
    """Send octets at once and read so many answers, without their bodies."""
    reader, writer = await opened(site)
    writer.write(octets)
    heads = []
    for _ in range(count):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"Content-Length: "))
        await reader.readexactly(int(length.split()[1]))
        heads.append(head.split(b"\r\n")[0])
    writer.close()
    return heads


async def test_a_body_in_tiny_chunks_is_parsed_in_parts(site: Running, parts: list[int]) -> None:
    """They cost the parser a hundred times as much as one chunk; and what follows them is served."""
    body = json.dumps({"tags": {"name": "x" * 60_000}}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % octet for octet in body) + b"0\r\n\r\n"
    head = f"Host: a\r\nX-API-Token: {site.token}\r\n"
    post = f"POST /span/collections HTTP/1.1\r\n{head}Transfer-Encoding: chunked\r\n\r\n".encode()
    system = f"GET /span/system HTTP/1.1\r\n{head}\r\n".encode()
    heads = await answers(site, post + chunks + system * 3, 4)

    assert heads == [b"HTTP/1.1 400 Bad Request", *[b"HTTP/1.1 200 OK"] * 3]  # a tag is shorter
    assert max(parts) <= PART


async def test_many_requests_at_once_are_all_answered(site: Running, parts: list[int]) -> None:
    heads = await answers(site, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 2_000, 2_000)

    assert set(heads) == {b"HTTP/1.1 200 OK"}
    assert max(parts) <= PART


async def test_a_failure_in_a_turn_ends_its_connection_alone(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a defect")

    reader, writer = await stream(site)
    monkeypatch.setattr(Reader, "feed_data", fail)
    with capture_logs() as lines:
        writer.write(FLOOD)
        with suppress(ConnectionError):
            await reader.read()
        heads = await answers(site, padded_post(site), 1)
    writer.close()

    assert heads == [b"HTTP/1.1 200 OK"]
    assert [each["log_level"] for each in lines if each["event"] == "connection_failed"] == ["error"]


def test_a_client_of_tls_may_leave_right_after_its_request(tmp_path: Path) -> None:
    """With uvloop, which reads it all at once; asyncio reads 16 KiB."""

    async def leave() -> None:
        async with running(tmp_path, http={"tls": "own"}) as site:
            found, (host, _, port) = site.server.fleet.registry.directory.collections, site.http.rpartition(":")
            before = len(found)
            with trusting(site.server.authority.root_pem).wrap_socket(socket.socket()) as client:
                await asyncio.to_thread(client.connect, (host, int(port)))
                client.sendall(padded_post(site))
                client.setblocking(False)
                with suppress(ssl.SSLWantReadError):
                    client.unwrap()  # sends its close_notify, and waits for no answer
            await until(lambda: len(found) > before)

    uvloop.run(leave())


async def test_a_stream_that_floods_in_one_read_is_not_read_again(site: Running, parts: list[int]) -> None:
    """Not even once the turns for that read are over."""
    reader, writer = await stream(site)
    parts.clear()
    writer.write(FLOOD)
    await reader.readuntil((1008).to_bytes(2, "big"))
    await until(lambda: sum(parts) == len(FLOOD))
    parts.clear()
    writer.write(frame(0x89))
    healthz = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    heads = await answers(site, healthz, 1)  # the ping came before it
    writer.close()
    server = site.server.web._runner.server
    assert server is not None
    for each in server.connections:
        if each.transport is not None:
            each.transport.abort()  # else the end of the test waits for the time limit of its close

    assert heads == [b"HTTP/1.1 200 OK"]
    assert parts == [len(healthz)]


@pytest.mark.parametrize(
    "name", ["_pause_transport_reading", "_resume_transport_reading", "_reading_paused", "_buffer_paused", "_upgraded"]
)
def test_aiohttp_has_the_private_names_that_connections_use(name: str) -> None:
    assert hasattr(web.RequestHandler, name), (
        f"aiohttp's RequestHandler has no {name}: read how this version pauses reading, and mend web/connection.py"
    )
