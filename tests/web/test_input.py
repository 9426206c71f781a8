"""What one connection sends at once is parsed in parts, and other sockets are served between them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.bench.servers import Running, running

PART = 16_384


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


async def answers(site: Running, octets: bytes, count: int) -> list[bytes]:
    """Send octets at once and read so many answers, without their bodies."""
    host, _, port = site.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
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
