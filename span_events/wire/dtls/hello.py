"""
ClientHello and HelloVerifyRequest, the first messages of a handshake (RFC 6347 §4.2, RFC 5246 §7.4.1).

Only the fields of a hello that a diagnosis needs are read. A hello without a cookie is answered without an engine,
so a flood of hellos costs one hash each and no memory, and a malformed hello reaches no engine.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from span_events.errors import MalformedMessage
from span_events.wire.dtls.fragments import MESSAGE
from span_events.wire.dtls.names import GROUPS, SUITES, VERSIONS
from span_events.wire.dtls.records import DTLS_1_0, DTLS_1_2, HEADER, ContentType

_EXTENSION: Final = struct.Struct("!HH")
CLIENT_HELLO: Final = 1
_SERVER_HELLO: Final = 2
_HELLO_VERIFY_REQUEST: Final = 3
_MAX_FRAGMENT_LENGTH: Final = 1
_FRAGMENT_LENGTHS: Final = MappingProxyType({b"\1": 512, b"\2": 1024, b"\3": 2048, b"\4": 4096})
"""RFC 6066 §4."""
_SUPPORTED_GROUPS: Final = 10
_CERTIFICATE_TYPES: Final = frozenset({19, 20})
_X509, _RAW_KEY = 0, 2
"""RFC 7250 §3; the extensions are client_certificate_type and server_certificate_type."""
_SUPPORTED_VERSIONS: Final = 43
_READ: Final = _CERTIFICATE_TYPES | {_SUPPORTED_VERSIONS, _SUPPORTED_GROUPS, _MAX_FRAGMENT_LENGTH}
"""Extensions whose content is read."""
_SIGNALLING: Final = frozenset({0x00FF, 0x5600})
"""Values that signal an option and are no cipher suites: renegotiation info (RFC 5746), fallback (RFC 7507)."""
_SHOWN: Final = 24
"""Upper bound of names in a list of offered suites or groups."""


@dataclass(frozen=True, slots=True)
class ClientHello:
    """The offer of a client, with which a handshake begins."""

    sequence: int
    """Sequence number of the record; the answer must have the same number (RFC 6347 §4.2.1)."""
    version: int
    random: bytes
    cookie: bytes
    suite_octets: bytes
    versions: tuple[int, ...]
    """Versions in the extension supported_versions; empty without the extension."""
    group_octets: bytes
    """Content of the extension supported_groups."""
    wants_raw_key: bool = False
    """True if the client accepts or offers only raw public keys (RFC 7250)."""
    largest_fragment: int | None = None
    """Octets in a record at most, by the extension max_fragment_length."""

    @property
    def speaks_dtls_1_2(self) -> bool:
        """True if the client can agree on DTLS 1.2; the numbers of later versions are lower."""
        if self.versions:
            return DTLS_1_2 in self.versions
        return self.version >> 8 == DTLS_1_2 >> 8 and self.version <= DTLS_1_2

    @property
    def suites(self) -> tuple[int, ...]:
        """The cipher suites, best first."""
        return tuple(each for each in numbers(self.suite_octets) if each not in _SIGNALLING)

    @property
    def groups(self) -> tuple[int, ...]:
        """The elliptic curves, best first."""
        return numbers(self.group_octets[2:])

    @property
    def offered_versions(self) -> str:
        """Names of the versions."""
        return ", ".join(VERSIONS.get(each, f"0x{each:04X}") for each in self.versions or (self.version,))

    @property
    def offered_suites(self) -> str:
        """OpenSSL's names of the cipher suites."""
        names = [SUITES.get(each, f"0x{each:04X}") for each in self.suites if not _is_grease(each)]
        return _listed(names) or "none"

    @property
    def offered_groups(self) -> str:
        """Names of the elliptic curves."""
        return _listed([GROUPS.get(each, f"0x{each:04X}") for each in self.groups if not _is_grease(each)]) or "none"


def is_hello(datagram: bytes) -> bool:
    """Return whether a datagram that `is_dtls` begins with a ClientHello in the clear."""
    return (
        len(datagram) > HEADER.size
        and datagram[0] == ContentType.HANDSHAKE
        and datagram[3] == datagram[4] == 0
        and datagram[HEADER.size] == CLIENT_HELLO
    )


def is_fragment(datagram: bytes) -> bool:
    """Return whether the hello that a datagram begins with has other fragments."""
    at = HEADER.size
    return len(datagram) >= at + MESSAGE.size and datagram[at + 1 : at + 4] != datagram[at + 9 : at + 12]


def read_beginning(datagram: bytes) -> ClientHello:
    """
    Read the first fragment of a ClientHello as far as its cookie.

    Raises:
        MalformedMessage: The fragment ends before.
    """
    _, _, _, high, low, length = HEADER.unpack_from(datagram)
    reader = _Reader(datagram, HEADER.size, HEADER.size + length)
    reader.take(MESSAGE.size, "message header")
    version = reader.number(2, "version")
    random = reader.take(32, "random")
    reader.vector(1, "session id")
    return ClientHello(high << 32 | low, version, random, reader.vector(1, "cookie"), b"", (), b"")


def read_hello(datagram: bytes) -> ClientHello:
    """
    Read the whole ClientHello that a datagram begins with.

    Raises:
        MalformedMessage: The hello is truncated, or its lengths contradict each other.
    """
    _, _, _, high, low, length = HEADER.unpack_from(datagram)
    reader = _Reader(datagram, HEADER.size, HEADER.size + length)
    _, size, _, _, _ = MESSAGE.unpack(reader.take(MESSAGE.size, "message header"))
    reader.limit(_number(size), "hello")
    version = reader.number(2, "version")
    random = reader.take(32, "random")
    reader.vector(1, "session id")
    cookie = reader.vector(1, "cookie")
    suite_octets = reader.vector(2, "cipher suites")
    reader.vector(1, "compression methods")
    versions: tuple[int, ...] = ()
    group_octets, largest, raw_key = b"", None, False
    if not reader.at_end:
        extensions = reader.vector(2, "extensions")
        for kind, at, end in _extensions(extensions, reader.at - len(extensions)):
            if kind not in _READ:
                continue
            if kind == _SUPPORTED_VERSIONS:
                versions = tuple(each for each in numbers(extensions[at + 1 : end]) if not _is_grease(each))
            elif kind == _SUPPORTED_GROUPS:
                group_octets = extensions[at:end]
            elif kind == _MAX_FRAGMENT_LENGTH:
                largest = _FRAGMENT_LENGTHS.get(extensions[at:end])
            else:
                raw_key = raw_key or (_RAW_KEY in extensions[at + 1 : end] and _X509 not in extensions[at + 1 : end])
    return ClientHello(
        high << 32 | low, version, random, cookie, suite_octets, versions, group_octets, raw_key, largest
    )


def hello_verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """Encode a HelloVerifyRequest; its version is DTLS 1.0, because none is agreed yet (RFC 6347 §4.2.1)."""
    body = DTLS_1_0.to_bytes(2, "big") + bytes((len(cookie),)) + cookie
    size = len(body).to_bytes(3, "big")
    message = MESSAGE.pack(_HELLO_VERIFY_REQUEST, size, 0, b"\0\0\0", size) + body
    high, low = divmod(hello.sequence, 1 << 32)
    return HEADER.pack(ContentType.HANDSHAKE, DTLS_1_0, 0, high, low, len(message)) + message


def chosen_suite(datagram: bytes) -> str | None:
    """Return OpenSSL's name of the cipher suite in the ServerHello that a datagram of ours begins with."""
    at = HEADER.size + MESSAGE.size + 2 + 32  # version and random
    if len(datagram) <= at or datagram[0] != ContentType.HANDSHAKE or datagram[HEADER.size] != _SERVER_HELLO:
        return None
    at += 1 + datagram[at]  # session id
    number = _number(datagram[at : at + 2])
    return SUITES.get(number, f"0x{number:04X}")


def _extensions(octets: bytes, offset: int) -> Iterator[tuple[int, int, int]]:
    """Yield type, begin and end of each extension; the offset is used in error messages."""
    at, end = 0, len(octets)
    while at < end:
        if end - at < _EXTENSION.size:
            raise MalformedMessage(f"an extension needs 4 octets, {end - at} are left", at=offset + at)
        kind, size = _EXTENSION.unpack_from(octets, at)
        at += _EXTENSION.size
        if at + size > end:
            raise MalformedMessage(f"extension {kind} needs {size} octets, {end - at} are left", at=offset + at)
        yield kind, at, at + size
        at += size


class _Reader:
    """Reads octets from a range; an error names the missing field and its place."""

    def __init__(self, octets: bytes, at: int, end: int) -> None:
        self._octets = octets
        self._at = at
        self._end = end

    @property
    def at(self) -> int:
        return self._at

    @property
    def at_end(self) -> bool:
        return self._at >= self._end

    def take(self, count: int, what: str) -> bytes:
        at, following = self._at, self._at + count
        if following > self._end:
            raise MalformedMessage(f"{what} needs {count} octets, {self._end - at} are left", at=at)
        self._at = following
        return self._octets[at:following]

    def number(self, size: int, what: str) -> int:
        return _number(self.take(size, what))

    def vector(self, size: int, what: str) -> bytes:
        begin = self._at + size
        following = begin + int.from_bytes(self._octets[self._at : begin], "big")
        if following > self._end or begin > self._end:  # the usual case in one step; the other names what is missing
            return self.take(self.number(size, what), what)
        self._at = following
        return self._octets[begin:following]

    def limit(self, count: int, what: str) -> None:
        if self._at + count > self._end:
            raise MalformedMessage(f"{what} needs {count} octets, {self._end - self._at} are left", at=self._at)
        self._end = self._at + count


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def numbers(octets: bytes) -> tuple[int, ...]:
    """Return the numbers of two octets each in a list of suites, groups or versions."""
    return struct.unpack(f"!{len(octets) // 2}H", octets[: len(octets) & ~1])


def _is_grease(number: int) -> bool:
    """Return whether a number is reserved to test that servers ignore unknown values (RFC 8701)."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
