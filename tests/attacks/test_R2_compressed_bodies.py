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
    """Make a body of 495 kB: one packed block again and again, between the header and the checksum of zlib."""
    packer = zlib.compressobj(9, wbits=-15)
    block = b" " * 1_000_000
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    count, checksum = UNPACKED // len(block), 1
    for _ in range(count):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\xda" + packed * count + packer.flush() + checksum.to_bytes(4, "big")


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
