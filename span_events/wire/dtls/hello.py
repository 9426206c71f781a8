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
from span_events.wire.dtls.records import DTLS_1_0, DTLS_1_2, DTLS_1_3, HEADER, ContentType

_MESSAGE: Final = struct.Struct("!B3sH3s3s")
"""Message type, length, message number, offset and length of the fragment (RFC 6347 §4.2.2)."""
_EXTENSION: Final = struct.Struct("!HH")
_CLIENT_HELLO: Final = 1
_SERVER_HELLO: Final = 2
_HELLO_VERIFY_REQUEST: Final = 3
_MAX_FRAGMENT_LENGTH: Final = 1
_FRAGMENT_LENGTHS: Final = MappingProxyType({b"\1": 512, b"\2": 1024, b"\3": 2048, b"\4": 4096})
"""RFC 6066 §4."""
_SUPPORTED_GROUPS: Final = 10
_SUPPORTED_VERSIONS: Final = 43
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
        return tuple(each for each in _numbers(self.suite_octets) if each not in _SIGNALLING)

    @property
    def groups(self) -> tuple[int, ...]:
        """The elliptic curves, best first."""
        return _numbers(self.group_octets[2:])

    @property
    def offered_versions(self) -> str:
        """Names of the versions."""
        return ", ".join(_VERSIONS.get(each, f"0x{each:04X}") for each in self.versions or (self.version,))

    @property
    def offered_suites(self) -> str:
        """OpenSSL's names of the cipher suites."""
        names = [SUITES.get(each, f"0x{each:04X}") for each in self.suites if not _is_grease(each)]
        return _listed(names) or "none"

    @property
    def offered_groups(self) -> str:
        """Names of the elliptic curves."""
        return _listed([_GROUPS.get(each, f"0x{each:04X}") for each in self.groups if not _is_grease(each)]) or "none"


def is_hello(datagram: bytes) -> bool:
    """Return whether a datagram that `is_dtls` begins with a ClientHello in the clear."""
    return (
        len(datagram) > HEADER.size
        and datagram[0] == ContentType.HANDSHAKE
        and datagram[3] == datagram[4] == 0
        and datagram[HEADER.size] == _CLIENT_HELLO
    )


def read_hello(datagram: bytes) -> ClientHello:
    """
    Read the ClientHello that a datagram begins with.

    Raises:
        MalformedMessage: The hello is truncated, fragmented, or its lengths contradict each other.
    """
    _, _, _, high, low, length = HEADER.unpack_from(datagram)
    reader = _Reader(datagram, HEADER.size, HEADER.size + length)
    _, size, _, offset, fragment = _MESSAGE.unpack(reader.take(_MESSAGE.size, "message header"))
    if offset != b"\0\0\0" or size != fragment:
        part = f"octets {_number(offset)} to {_number(offset) + _number(fragment)} of {_number(size)}"
        raise MalformedMessage(f"the hello is fragmented: this datagram has {part}, wanted all in one", at=HEADER.size)
    reader.limit(_number(size), "hello")
    version = reader.number(2, "version")
    random = reader.take(32, "random")
    reader.vector(1, "session id")
    cookie = reader.vector(1, "cookie")
    suite_octets = reader.vector(2, "cipher suites")
    reader.vector(1, "compression methods")
    versions: tuple[int, ...] = ()
    group_octets, largest = b"", None
    if not reader.at_end:
        extensions = reader.vector(2, "extensions")
        for kind, at, end in _extensions(extensions, reader.at - len(extensions)):
            if kind == _SUPPORTED_VERSIONS:
                versions = tuple(each for each in _numbers(extensions[at + 1 : end]) if not _is_grease(each))
            elif kind == _SUPPORTED_GROUPS:
                group_octets = extensions[at:end]
            elif kind == _MAX_FRAGMENT_LENGTH:
                largest = _FRAGMENT_LENGTHS.get(extensions[at:end])
    return ClientHello(high << 32 | low, version, random, cookie, suite_octets, versions, group_octets, largest)


def hello_verify_request(hello: ClientHello, cookie: bytes) -> bytes:
    """Encode a HelloVerifyRequest; its version is DTLS 1.0, because none is agreed yet (RFC 6347 §4.2.1)."""
    body = DTLS_1_0.to_bytes(2, "big") + bytes((len(cookie),)) + cookie
    size = len(body).to_bytes(3, "big")
    message = _MESSAGE.pack(_HELLO_VERIFY_REQUEST, size, 0, b"\0\0\0", size) + body
    high, low = divmod(hello.sequence, 1 << 32)
    return HEADER.pack(ContentType.HANDSHAKE, DTLS_1_0, 0, high, low, len(message)) + message


def chosen_suite(datagram: bytes) -> str | None:
    """Return OpenSSL's name of the cipher suite in the ServerHello that a datagram of ours begins with."""
    at = HEADER.size + _MESSAGE.size + 2 + 32  # version and random
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
        return self.take(self.number(size, what), what)

    def limit(self, count: int, what: str) -> None:
        if self._at + count > self._end:
            raise MalformedMessage(f"{what} needs {count} octets, {self._end - self._at} are left", at=self._at)
        self._end = self._at + count


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _numbers(octets: bytes) -> tuple[int, ...]:
    return struct.unpack(f"!{len(octets) // 2}H", octets[: len(octets) & ~1])


def _is_grease(number: int) -> bool:
    """Return whether a number is reserved to test that servers ignore unknown values (RFC 8701)."""
    return number & 0x0F0F == 0x0A0A and number >> 8 == number & 0xFF


def _listed(names: list[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


_VERSIONS: Final = MappingProxyType(
    {DTLS_1_0: "DTLS 1.0", DTLS_1_2: "DTLS 1.2", DTLS_1_3: "DTLS 1.3", 0x0100: "DTLS before 1.0"}
    | {0x0301: "TLS 1.0", 0x0302: "TLS 1.1", 0x0303: "TLS 1.2", 0x0304: "TLS 1.3"}
)
_GROUPS: Final = MappingProxyType(
    {19: "secp192r1", 21: "secp224r1", 22: "secp256k1", 23: "secp256r1", 24: "secp384r1", 25: "secp521r1"}
    | {26: "brainpoolP256r1", 27: "brainpoolP384r1", 28: "brainpoolP512r1", 29: "x25519", 30: "x448"}
    | {256: "ffdhe2048", 257: "ffdhe3072", 258: "ffdhe4096", 0x11EC: "X25519MLKEM768"}
)
SUITES: Final = MappingProxyType(
    {
        0x000A: "DES-CBC3-SHA",
        0x002F: "AES128-SHA",
        0x0033: "DHE-RSA-AES128-SHA",
        0x0035: "AES256-SHA",
        0x0039: "DHE-RSA-AES256-SHA",
        0x003C: "AES128-SHA256",
        0x003D: "AES256-SHA256",
        0x0067: "DHE-RSA-AES128-SHA256",
        0x006B: "DHE-RSA-AES256-SHA256",
        0x008C: "PSK-AES128-CBC-SHA",
        0x008D: "PSK-AES256-CBC-SHA",
        0x009C: "AES128-GCM-SHA256",
        0x009D: "AES256-GCM-SHA384",
        0x009E: "DHE-RSA-AES128-GCM-SHA256",
        0x009F: "DHE-RSA-AES256-GCM-SHA384",
        0x00A8: "PSK-AES128-GCM-SHA256",
        0x00A9: "PSK-AES256-GCM-SHA384",
        0x00AA: "DHE-PSK-AES128-GCM-SHA256",
        0x00AB: "DHE-PSK-AES256-GCM-SHA384",
        0x00AE: "PSK-AES128-CBC-SHA256",
        0x00AF: "PSK-AES256-CBC-SHA384",
        0x1301: "TLS_AES_128_GCM_SHA256",
        0x1302: "TLS_AES_256_GCM_SHA384",
        0x1303: "TLS_CHACHA20_POLY1305_SHA256",
        0xC009: "ECDHE-ECDSA-AES128-SHA",
        0xC00A: "ECDHE-ECDSA-AES256-SHA",
        0xC013: "ECDHE-RSA-AES128-SHA",
        0xC014: "ECDHE-RSA-AES256-SHA",
        0xC023: "ECDHE-ECDSA-AES128-SHA256",
        0xC024: "ECDHE-ECDSA-AES256-SHA384",
        0xC027: "ECDHE-RSA-AES128-SHA256",
        0xC028: "ECDHE-RSA-AES256-SHA384",
        0xC02B: "ECDHE-ECDSA-AES128-GCM-SHA256",
        0xC02C: "ECDHE-ECDSA-AES256-GCM-SHA384",
        0xC02F: "ECDHE-RSA-AES128-GCM-SHA256",
        0xC030: "ECDHE-RSA-AES256-GCM-SHA384",
        0xC035: "ECDHE-PSK-AES128-CBC-SHA",
        0xC036: "ECDHE-PSK-AES256-CBC-SHA",
        0xC037: "ECDHE-PSK-AES128-CBC-SHA256",
        0xC038: "ECDHE-PSK-AES256-CBC-SHA384",
        0xC09C: "AES128-CCM",
        0xC09D: "AES256-CCM",
        0xC0A0: "AES128-CCM8",
        0xC0A1: "AES256-CCM8",
        0xC0A4: "PSK-AES128-CCM",
        0xC0A5: "PSK-AES256-CCM",
        0xC0A8: "PSK-AES128-CCM8",
        0xC0A9: "PSK-AES256-CCM8",
        0xC0AC: "ECDHE-ECDSA-AES128-CCM",
        0xC0AD: "ECDHE-ECDSA-AES256-CCM",
        0xC0AE: "ECDHE-ECDSA-AES128-CCM8",
        0xC0AF: "ECDHE-ECDSA-AES256-CCM8",
        0xCCA8: "ECDHE-RSA-CHACHA20-POLY1305",
        0xCCA9: "ECDHE-ECDSA-CHACHA20-POLY1305",
        0xCCAB: "PSK-CHACHA20-POLY1305",
        0xCCAC: "ECDHE-PSK-CHACHA20-POLY1305",
    }
)
"""IANA "TLS Cipher Suites" by OpenSSL's names: what embedded stacks offer."""
