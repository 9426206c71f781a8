"""Content of one upload: read from the connection at a minimum rate, unpacked, and written to the blob's file."""

from __future__ import annotations

import asyncio
from typing import Final

from span_events.config import BlobsConfig
from span_events.errors import MalformedMessage
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.blobs.uploads import Upload, UploadRefused
from span_events.listeners.tcp import TcpStream
from span_events.wire.http_chunks import ChunkedDecoder
from span_events.wire.http_form import FormReader, boundary_of
from span_events.wire.http_head import CONTINUE, Head

_CHUNK: Final = 65_536
"""Octets of an upload that are collected before a write to the disk."""
_CHUNKED_READ: Final = 8_192
"""Octets of chunks that are decoded at once: thousands of small chunks must not hold up other devices."""


class Content:
    """
    The content of one request.

    Args:
        head: Head of the request, with a length or with chunks.
        rest: Content that arrived together with the head.
    """

    def __init__(self, config: BlobsConfig, stream: TcpStream, head: Head, rest: bytes) -> None:
        self._stream = stream
        self._waits = head.expects_continue and not rest
        self._rest = rest
        self._left = head.length
        self._chunks = ChunkedDecoder() if head.is_chunked else None
        declared = head.fields.get("content-type", "")
        boundary = boundary_of(declared)
        self._form = None if boundary is None else FormReader(boundary)
        self._declared = declared
        self._pace = _Pace(config, head.length)

    @property
    def media_type(self) -> str:
        """Media type that the client declares, for a form that of its file."""
        return (self._form and self._form.content_type) or self._declared

    @property
    def note(self) -> str | None:
        """Words for people about a form; valid at the end."""
        return self._form.note if self._form else None

    async def copy_to(self, upload: Upload) -> None:
        """
        Read the content to its end, and write it to an upload.

        Raises:
            UploadRefused: The client is too slow or gone, or the content is malformed, too large or not storable.
        """
        if self._waits:
            await self._let_begin()
        chunk = bytearray()
        try:
            while (octets := await self._read(_CHUNK - len(chunk))) is not None:
                chunk += self._form.feed(octets) if self._form else octets
                if len(chunk) >= _CHUNK:
                    await upload.write(bytes(chunk))
                    chunk.clear()
        except MalformedMessage as exc:
            raise UploadRefused(MessageRejectedReason.MALFORMED, exc.detail, at=exc.at) from exc
        chunk += self._form.end() if self._form else b""
        if chunk:
            await upload.write(bytes(chunk))

    async def _let_begin(self) -> None:
        try:
            await self._stream.write(CONTINUE)
        except OSError as exc:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, self._pace.position(exc.strerror)) from exc

    async def _read(self, size: int) -> bytes | None:
        """Return the next octets of the content; None at its end."""
        if self._chunks is not None:
            if self._chunks.done:
                return None
            octets = self._chunks.feed(await self._next(min(_CHUNKED_READ, size)))
        else:
            assert self._left is not None, "it has a length, or chunks"
            if not self._left:
                return None
            octets = (await self._next(min(self._left, size)))[: self._left]
            self._left -= len(octets)
        self._pace.count(len(octets))
        return octets

    async def _next(self, size: int) -> bytes:
        """Return the octets that came with the head, then those of the connection."""
        if self._rest:
            rest, self._rest = self._rest, b""
            return rest
        try:
            async with asyncio.timeout_at(self._pace.deadline):
                more = await self._stream.read(size)
        except TimeoutError:
            raise UploadRefused(MessageRejectedReason.TOO_SLOW, self._pace.verdict()) from None
        except OSError as exc:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, self._pace.position(exc.strerror)) from exc
        if not more:
            raise UploadRefused(MessageRejectedReason.INCOMPLETE, self._pace.position())
        return more


class _Pace:
    """Minimum rate of an upload: octets per window, and a limit for the whole."""

    def __init__(self, config: BlobsConfig, length: int | None) -> None:
        self._config = config
        self._of = "octets" if length is None else f"of {length} octets"
        self._now = asyncio.get_running_loop().time
        self._ends = self._now() + config.upload_timeout
        self._wanted = config.min_rate * config.rate_window
        self._total = 0
        self._begin_window()

    @property
    def deadline(self) -> float:
        """Time of the loop's clock by which more octets must arrive."""
        return min(self._ends, self._window_ends)

    def count(self, octets: int) -> None:
        """Count received octets."""
        self._total += octets
        self._in_window += octets
        if self._in_window >= self._wanted:
            self._begin_window()

    def position(self, cause: str | None = None) -> str:
        """Return the detail for an upload that the end of the connection interrupted."""
        why = f": {cause}" if cause else ""
        return f"the connection ended after {self._total} {self._of}{why}"

    def verdict(self) -> str:
        """Return the detail for an upload that exceeded a limit."""
        if self._ends <= self._window_ends:
            limit = f"{self._config.upload_timeout:g} s (blobs.upload_timeout)"
            return f"{self._total} {self._of} in {limit}"
        seen = f"{self._in_window} octets in {self._config.rate_window:g} s"
        wanted = f"wanted {self._wanted:g} (blobs.min_rate, blobs.rate_window)"
        return f"{seen} after {self._total - self._in_window} {self._of}, {wanted}"

    def _begin_window(self) -> None:
        self._in_window = 0
        self._window_ends = self._now() + self._config.rate_window
