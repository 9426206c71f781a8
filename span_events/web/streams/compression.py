"""
Compression of replies: gzip (RFC 1952) for clients that ask for it, each write complete in itself.

The blocks of a write refer to nothing before it and end on an octet (Z_SYNC_FLUSH). So each write is decompressed when
it arrives, and all clients of a group, whenever they came, get the same octets. The checksum at the end is there for
replies that have an end, the exports; a stream that the server ends has none, which decompressors accept.
"""

from __future__ import annotations

import zlib
from typing import Final

from aiohttp import web

HEAD: Final = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
"""Begin of a member: deflate, no flags, no time, unknown system."""
_LAST: Final = b"\x03\0"
"""An empty last block."""
_LEVEL: Final = 1
_RAW: Final = -15
"""Deflate without a head, with a window of 32 KiB."""


def accepts_gzip(request: web.BaseRequest) -> bool:
    """Return whether the client of a request names gzip in Accept-Encoding (RFC 9110 12.5.3), with a weight over 0."""
    for line in request.headers.getall("Accept-Encoding", []):
        for each in line.lower().split(","):
            coding, _, weight = each.partition(";")
            if coding.strip() in ("gzip", "x-gzip"):
                return weight.replace(" ", "").removeprefix("q=").strip("0.") != "" or not weight
    return False


def block(octets: bytes) -> bytes:
    """Compress one write."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
    return packer.compress(octets) + packer.flush(zlib.Z_SYNC_FLUSH)


class Checksum:
    """The checksum of a reply that has an end."""

    def __init__(self) -> None:
        self._crc = self._size = 0

    def add(self, octets: bytes) -> None:
        """Take octets, before their compression."""
        self._crc = zlib.crc32(octets, self._crc)
        self._size += len(octets)

    def end(self) -> bytes:
        """Return the end of the member."""
        return _LAST + self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
