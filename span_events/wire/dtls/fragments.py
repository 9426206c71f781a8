"""Fragments of handshake messages (RFC 6347 §4.2.3): reads them, and puts a message together again."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from span_events.wire.dtls.records import HEADER, ContentType, records

MESSAGE: Final = struct.Struct("!B3sH3s3s")
"""Message type, length, message number, offset and length of the fragment (RFC 6347 §4.2.2)."""
_PARTS: Final = 32
"""Upper bound of fragments of one message: a receiver of 256 octets splits 4,096 into 18."""


class Fragment(NamedTuple):
    """A fragment, which may be the whole message."""

    kind: int
    size: int
    """Octets of the message."""
    number: int
    offset: int
    octets: bytes

    @property
    def is_whole(self) -> bool:
        """True if the message has no other fragment."""
        return len(self.octets) == self.size


def fragments(datagram: bytes) -> Iterator[Fragment]:
    """Yield the fragments of handshake messages in the clear, until one contradicts its record."""
    for record in records(datagram):
        if record.kind != ContentType.HANDSHAKE or record.epoch:
            continue
        at, end = record.at, min(record.at + record.length, len(datagram))
        while at + MESSAGE.size <= end:
            kind, size, number, offset, count = MESSAGE.unpack_from(datagram, at)
            at += MESSAGE.size
            fragment = Fragment(
                kind,
                int.from_bytes(size, "big"),
                number,
                int.from_bytes(offset, "big"),
                datagram[at : at + int.from_bytes(count, "big")],
            )
            at += int.from_bytes(count, "big")
            if at > end or fragment.offset + len(fragment.octets) > fragment.size:
                return
            yield fragment


class Assembly:
    """
    Puts one message together.

    Args:
        limit: Octets of a message at most; a longer one is never complete.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = -1
        self._parts: dict[int, bytes] = {}

    def add(self, fragment: Fragment) -> bytes | None:
        """Add a fragment in any order; return the body of the message once it is complete."""
        if fragment.size != self._size:
            self._size = fragment.size
            self._parts.clear()
        if fragment.size > self._limit or len(self._parts) >= _PARTS:
            return None
        if len(fragment.octets) >= len(self._parts.get(fragment.offset, b"")):
            self._parts[fragment.offset] = fragment.octets
        body = b""
        for offset in sorted(self._parts):
            if offset > len(body):
                return None
            body += self._parts[offset][len(body) - offset :]
        return body if len(body) == self._size else None


def assembled(kind: int, datagrams: Sequence[bytes], limit: int) -> bytes | None:
    """Return the body of the first message of a type in some datagrams; None if it is not complete."""
    assembly = Assembly(limit)
    for datagram in datagrams:
        for fragment in fragments(datagram):
            if fragment.kind == kind and (body := assembly.add(fragment)) is not None:
                return body
    return None


def in_one_record(datagram: bytes, fragment: Fragment, body: bytes) -> bytes:
    """Encode a message that came in fragments as one record, with the number of the last record of a datagram."""
    *_, record = records(datagram)
    size = len(body).to_bytes(3, "big")
    message = MESSAGE.pack(fragment.kind, size, fragment.number, bytes(3), size) + body
    high, low = divmod(record.sequence, 1 << 32)
    return HEADER.pack(ContentType.HANDSHAKE, record.version, 0, high, low, len(message)) + message
