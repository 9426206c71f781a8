"""The chunked transfer coding of HTTP/1.1 (RFC 9112 §7.1): decodes content whose length is not known beforehand."""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from span_events.errors import MalformedMessage

MAX_LINE: Final = 256
"""Octets of a chunk's line at most: its size, and extensions that are ignored."""
MAX_TRAILERS: Final = 8_192
"""Octets of the fields after the last chunk at most."""
FEW: Final = 10_000
"""Chunks of any size; with more of them, the average is checked."""
SMALLEST: Final = 16
"""Octets of a chunk on average at least: each costs as much time as hundreds of octets."""
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;.*)?")
"""A chunk has less than 4 GiB."""


class _Part(Enum):
    SIZE = auto()
    DATA = auto()
    END_OF_DATA = auto()
    TRAILERS = auto()
    END = auto()


class ChunkedDecoder:
    """Decodes chunks as they arrive; what follows the last one is ignored."""

    def __init__(self) -> None:
        self._part = _Part.SIZE
        self._line = bytearray()
        self._left = 0
        self._trailers = 0
        self._count = 0
        self._total = 0
        self._at = 0

    @property
    def done(self) -> bool:
        """True after the last chunk and its trailer fields."""
        return self._part is _Part.END

    def feed(self, octets: bytes) -> bytes:
        """
        Return the content in the next octets.

        Raises:
            MalformedMessage: The octets are no chunks; ``at`` counts from the begin of the content.
        """
        found = bytearray()
        at = 0
        while at < len(octets) and not self.done:
            if self._part is _Part.DATA:
                piece = octets[at : at + self._left]
                found += piece
                at += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._part = _Part.END_OF_DATA
            else:
                end = octets.find(b"\n", at)
                self._line += octets[at : end + 1 or len(octets)]
                at = end + 1 or len(octets)
                if len(self._line) > MAX_LINE:
                    raise self._malformed(f"a line of a chunk is over {MAX_LINE} octets", at)
                if end >= 0:
                    self._take_line(bytes(self._line).rstrip(b"\r\n"), at)
                    self._line.clear()
        self._at += at
        return bytes(found)

    def _take_line(self, line: bytes, at: int) -> None:
        if self._part is _Part.SIZE:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise self._malformed(f"the size of a chunk is {line[:20]!r}, wanted hexadecimal digits", at)
            self._left = int(size[1], 16)
            self._count += 1
            self._total += self._left
            if self._count > FEW and self._total < self._count * SMALLEST:
                raise self._malformed(f"{self._count} chunks have less than {SMALLEST} octets on average", at)
            self._part = _Part.DATA if self._left else _Part.TRAILERS
        elif self._part is _Part.END_OF_DATA:
            if line:
                raise self._malformed("a chunk is longer than its size", at)
            self._part = _Part.SIZE
        else:
            self._trailers += len(line)
            if self._trailers > MAX_TRAILERS:
                raise self._malformed(f"the fields after the last chunk are over {MAX_TRAILERS} octets", at)
            if not line:
                self._part = _Part.END

    def _malformed(self, detail: str, at: int) -> MalformedMessage:
        return MalformedMessage(detail, at=self._at + at)
