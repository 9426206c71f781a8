"""R2: compressed request bodies, which unpack to a thousand times their size."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

import pytest

from tests.attacks.bystander import bystander
from tests.attacks.sockets import connect, receive, send
from tests.bench.live import LiveServer

UNPACKED: Final = 500_000_000
"""Octets that each body unpacks to."""


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A body of 486 kB."""
    packer = zlib.compressobj(9)
    block = b" " * 1_000_000
    return b"".join(packer.compress(block) for _ in range(UNPACKED // len(block))) + packer.flush()


async def test_security_R2_compressed_bodies_are_refused_before_they_are_read(server: LiveServer, bomb: bytes) -> None:
    async def attack(method: str, path: str, coding: str) -> bytes:
        opened = await connect(server)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Encoding: {coding}\r\nContent-Length: {len(bomb)}\r\n\r\n"
        )
        await send(opened, head.encode() + bomb)
        reply = await receive(opened, b"\r\n\r\n")
        opened.close()
        return reply

    async with bystander(server) as seen:
        replies = await asyncio.gather(
            *(attack("POST", "/span/collections", "deflate") for _ in range(10)),
            attack("GET", "/healthz", "gzip"),
            attack("PUT", "/nothing", "br"),
            attack("GET", "/span/activity", "GZIP, deflate"),
        )

    seen.check()
    assert [reply.split(b"\r\n")[0] for reply in replies] == [b"HTTP/1.1 415 Unsupported Media Type"] * 13
    assert all(b"Accept-Encoding: identity" in reply for reply in replies)
