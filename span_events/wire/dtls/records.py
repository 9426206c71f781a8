"""DTLS 1.2 records (RFC 6347 §4.1): recognizes, reads, writes them, and packs them into datagrams."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

HEADER: Final = struct.Struct("!BHHHIH")
"""Content type, version, epoch, sequence number (16 and 32 bits), length (RFC 6347 §4.1)."""
MTU: Final = 1232
"""Octets of a datagram at most: the minimum MTU of IPv6 (1280), without the headers."""

SMALL_MTU: Final = 512
"""Octets of a datagram at most after a retransmission: every IPv4 path and most small receivers take them."""

DTLS_1_0: Final = 0xFEFF
DTLS_1_2: Final = 0xFEFD
DTLS_1_3: Final = 0xFEFC
_BEFORE_1_0: Final = 0x0100
"""Version of OpenSSL 0.9.8 (DTLS1_BAD_VER); it is accepted in hellos only."""


class ContentType(IntEnum):
    """Content types of records (IANA "TLS ContentType")."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23
    HEARTBEAT = 24
    CONNECTION_ID = 25


_CONTENT_TYPES: Final = frozenset(ContentType)
_HANDSHAKE: Final = int(ContentType.HANDSHAKE)
_CONNECTION_ID: Final = int(ContentType.CONNECTION_ID)
FIRST_OCTETS: Final = frozenset(bytes((each,)) for each in ContentType)
"""First octets of datagrams that may be DTLS."""


class Alert(IntEnum):
    """Fatal alerts that this server writes (IANA "TLS Alerts")."""

    BAD_RECORD_MAC = 20
    PROTOCOL_VERSION = 70
    USER_CANCELED = 90


class Record(NamedTuple):
    """One record of a datagram."""

    kind: int
    version: int
    epoch: int
    sequence: int
    at: int
    """Offset of the content in the datagram."""
    length: int


def is_dtls(datagram: bytes) -> bool:
    """Return whether a datagram consists of well-formed DTLS records from its first octet to its last."""
    end = len(datagram)
    at = 0
    while True:
        content = at + HEADER.size
        if end < content or datagram[at] not in _CONTENT_TYPES:
            return False
        kind, version, epoch, _, _, length = HEADER.unpack_from(datagram, at)
        if version == _BEFORE_1_0:
            if kind != _HANDSHAKE or epoch:
                return False
        elif version not in (DTLS_1_2, DTLS_1_0):
            return False
        if (
            kind == _CONNECTION_ID
        ):  # its id has no fixed length: the place of the record length is unknown (RFC 9146 §4)
            return True
        at = content + length
        if at == end:
            return True


class Cut(NamedTuple):
    """A fault of a datagram that consists of encrypted DTLS records, but not of whole ones."""

    detail: str
    at: int
    """Offset of the record."""


def cut_of(datagram: bytes) -> Cut | None:
    """
    Return the fault of a datagram that is plainly encrypted DTLS, but not `is_dtls`; None for other octets.

    Plain are a content type, a version and an epoch above 0 at their places: a text or a sensor's value has none.
    """
    if len(datagram) < HEADER.size or not _is_encrypted(datagram):
        return None
    at, end = 0, len(datagram)
    while at + HEADER.size <= end:
        kind, version, _, _, _, length = HEADER.unpack_from(datagram, at)
        if kind not in _CONTENT_TYPES or version not in (DTLS_1_2, DTLS_1_0):
            return Cut("octets that are no DTLS record follow a DTLS record", at)
        came = end - at - HEADER.size
        if length > came:
            return Cut(f"a DTLS record says {length} octets, {came} came: the datagram was cut", at)
        at += HEADER.size + length
    return Cut(f"the header of a DTLS record has {HEADER.size} octets, {end - at} came: the datagram was cut", at)


def _is_encrypted(datagram: bytes) -> bool:
    kind, version, epoch, *_ = HEADER.unpack_from(datagram)
    return kind in _CONTENT_TYPES and version in (DTLS_1_2, DTLS_1_0) and epoch > 0


def records(datagram: bytes) -> Iterator[Record]:
    """Yield the records of a datagram that `is_dtls`."""
    at = 0
    while at + HEADER.size <= len(datagram):
        kind, version, epoch, high, low, length = HEADER.unpack_from(datagram, at)
        yield Record(kind, version, epoch, high << 32 | low, at + HEADER.size, length)
        at += HEADER.size + length


def alert(description: Alert, *, sequence: int = 1 << 32) -> bytes:
    """Encode a fatal alert in the clear; the default sequence number is above those of any handshake."""
    head = HEADER.pack(ContentType.ALERT, DTLS_1_2, 0, sequence >> 32, sequence & 0xFFFFFFFF, 2)
    return head + bytes((2, description))


def pack(octets: bytes, mtu: int = MTU) -> list[bytes]:
    """Split a sequence of records into datagrams; a record above the MTU gets a datagram of its own."""
    if len(octets) <= mtu:
        return [octets] if octets else []
    packed = []
    begin = end = 0
    for record in records(octets):
        following = record.at + record.length
        if following - begin > mtu and end > begin:
            packed.append(octets[begin:end])
            begin = end
        end = following
    packed.append(octets[begin:end])
    return packed
