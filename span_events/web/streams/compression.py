"""
Compression of replies: gzip (RFC 1952) for clients that ask for it, each write complete in itself.

The blocks of a write refer to nothing before it and end on an octet (Z_SYNC_FLUSH). So each write is decompressed when
it arrives, and all clients of a group, whenever they came, get the same octets. Only the checksum at the end is a
client's own: it covers the octets that this client got, and Go's HTTP client for one reports an error without it.
"""

from __future__ import annotations

import zlib
from typing import Final

from aiohttp import web

from span_events.fanout.subscriber import Framing, Sink

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


class Block(bytes):
    """Compressed octets of one write, in the framing of their transport, and the octets before compression."""

    plain: bytes
    """It lives as long as the block waits in a batch, so that a waiting write takes the memory of both."""

    @classmethod
    def of(cls, plain: bytes, frame: Framing) -> Block:
        """Compress one write."""
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW)
        block = cls(frame(packer.compress(plain) + packer.flush(zlib.Z_SYNC_FLUSH)))
        block.plain = plain
        return block


class Member:
    """
    The gzip member that one client gets: passes its blocks on, and counts for the checksum.

    Args:
        sink: Takes the octets.
    """

    def __init__(self, sink: Sink) -> None:
        self._write = sink.write
        self._crc = self._size = 0
        self.get_write_buffer_size = sink.get_write_buffer_size

    def write(self, data: bytes, /) -> None:
        """Send a block."""
        assert isinstance(data, Block)
        self._write(data)
        self._crc = zlib.crc32(data.plain, self._crc)
        self._size += len(data.plain)

    def end(self) -> bytes:
        """Return the end of the member."""
        return _LAST + self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
