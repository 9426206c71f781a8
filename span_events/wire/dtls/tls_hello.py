"""The ClientHello of TLS, which has no cookie; read as far as events show it (RFC 8446 §4.1.2)."""

from __future__ import annotations

from typing import Final

from span_events.wire.dtls.hello import ClientHello, numbers

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_BODY: Final = 9
"""Octets of the headers of the record and of the handshake message."""
_SUPPORTED_GROUPS, _SUPPORTED_VERSIONS = 10, 43


def read_beginning(octets: bytes) -> ClientHello | None:
    """Read the ClientHello with which a client began; parts that are cut off count as absent. None for other octets."""
    if len(octets) <= _BODY or octets[0] != _HANDSHAKE or octets[5] != _CLIENT_HELLO:
        return None
    version, random = int.from_bytes(octets[_BODY : _BODY + 2], "big"), octets[_BODY + 2 : _BODY + 34]
    at = _BODY + 34
    _, at = _vector(octets, at, 1)  # session id
    suites, at = _vector(octets, at, 2)
    _, at = _vector(octets, at, 1)  # compression methods
    versions: tuple[int, ...] = ()
    groups, at = b"", at + 2
    while at + 4 <= len(octets):
        kind = int.from_bytes(octets[at : at + 2], "big")
        content, at = _vector(octets, at + 2, 2)
        if kind == _SUPPORTED_VERSIONS:
            versions = numbers(content[1:])
        elif kind == _SUPPORTED_GROUPS:
            groups = content
    return ClientHello(0, version, random, b"", suites, versions, groups)


def _vector(octets: bytes, at: int, size: int) -> tuple[bytes, int]:
    """Return the content of a vector with a length of so many octets, and the place after it."""
    begin = at + size
    end = begin + int.from_bytes(octets[at:begin], "big")
    return octets[begin:end], end
