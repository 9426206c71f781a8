"""RADIUS requests written octet by octet, also wrong ones; neither our codec nor pyrad has a hand in it."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final

SECRET: Final = b"a secret of the tests"
"""The same as `tests.bench.peers.radclient.SECRET`."""
UNSIGNED: Final = bytes((80, 18)) + bytes(16)
"""A Message-Authenticator before its value is known."""


def attribute(number: int, value: bytes) -> bytes:
    """Encode an attribute."""
    return bytes((number, len(value) + 2)) + value


def of_3gpp(*inner: tuple[int, bytes]) -> bytes:
    """Encode 3GPP attributes as one Vendor-Specific attribute."""
    return attribute(26, (10415).to_bytes(4, "big") + b"".join(attribute(kind, value) for kind, value in inner))


def access_request(
    attributes: bytes = b"",
    *,
    signed: bool = True,
    secret: bytes = SECRET,
    identifier: int = 1,
    code: int = 1,
    authenticator: bytes = bytes(range(16)),
) -> bytes:
    """Encode an Access-Request, or with another code a Status-Server; a signature comes first."""
    body = UNSIGNED * signed + attributes
    head = struct.pack("!BBH16s", code, identifier, 20 + len(body), authenticator)
    if signed:
        body = attribute(80, hmac.digest(secret, head + body, "md5")) + attributes
    return head + body


def accounting_request(
    attributes: bytes = b"", *, signed: bool = False, secret: bytes = SECRET, identifier: int = 1
) -> bytes:
    """Encode an Accounting-Request; its authenticator proves it, a signature is optional."""
    body = UNSIGNED * signed + attributes
    head = struct.pack("!BBH", 4, identifier, 20 + len(body))
    if signed:
        body = attribute(80, hmac.digest(secret, head + bytes(16) + body, "md5")) + attributes
    return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body


def attributes_of(packet: bytes) -> list[tuple[int, bytes]]:
    """Decode the attributes of a packet."""
    found, at = [], 20
    while at < len(packet):
        found.append((packet[at], packet[at + 2 : at + packet[at + 1]]))
        at += packet[at + 1]
    return found
