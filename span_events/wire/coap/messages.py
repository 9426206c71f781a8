"""
CoAP messages (RFC 7252 §3), strictly read.

`decode` rejects each deviation from the format and names its octet, with a deliberate exception that
devices in the field need: a Uri-Path that contains a NUL may hold any octets. An option whose length does not fit
its number is kept apart, as it counts as unrecognised (§5.4.3).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from span_events.errors import MalformedMessage
from span_events.values import quick


class Type(IntEnum):
    """Message types (RFC 7252 §3)."""

    CON = 0
    NON = 1
    ACK = 2
    RST = 3


class Code(IntEnum):
    """CoAP Codes that this server uses (IANA registry "CoAP Codes"): class * 32 + detail."""

    EMPTY = 0x00
    GET = 0x01
    POST = 0x02
    PUT = 0x03
    DELETE = 0x04
    FETCH = 0x05
    PATCH = 0x06
    IPATCH = 0x07
    CREATED = 0x41
    CHANGED = 0x44
    CONTENT = 0x45
    CONTINUE = 0x5F
    BAD_REQUEST = 0x80
    UNAUTHORIZED = 0x81
    BAD_OPTION = 0x82
    FORBIDDEN = 0x83
    NOT_FOUND = 0x84
    METHOD_NOT_ALLOWED = 0x85
    NOT_ACCEPTABLE = 0x86
    REQUEST_ENTITY_INCOMPLETE = 0x88
    REQUEST_ENTITY_TOO_LARGE = 0x8D
    TOO_MANY_REQUESTS = 0x9D
    INTERNAL_SERVER_ERROR = 0xA0
    NOT_IMPLEMENTED = 0xA1
    SERVICE_UNAVAILABLE = 0xA3
    PROXYING_NOT_SUPPORTED = 0xA5


class Option(IntEnum):
    """Option numbers of RFC 7252, RFC 7641, RFC 7959 and RFC 7967 (IANA registry "CoAP Option Numbers")."""

    IF_MATCH = 1
    URI_HOST = 3
    ETAG = 4
    IF_NONE_MATCH = 5
    OBSERVE = 6
    URI_PORT = 7
    LOCATION_PATH = 8
    URI_PATH = 11
    CONTENT_FORMAT = 12
    MAX_AGE = 14
    URI_QUERY = 15
    ACCEPT = 17
    LOCATION_QUERY = 20
    BLOCK2 = 23
    BLOCK1 = 27
    SIZE2 = 28
    PROXY_URI = 35
    PROXY_SCHEME = 39
    SIZE1 = 60
    NO_RESPONSE = 258


HEADER: Final = struct.Struct("!BBH")
"""Version, type and token length; code; message id (RFC 7252 §3)."""
MAX_TOKEN: Final = 8
PAYLOAD_MARKER: Final = 0xFF
MAX_OPTION: Final = 0xFFFF
"""Option numbers are 16 bits (RFC 7252 §12.2)."""
MAX_OPTIONS: Final = 100
"""Options of a message. Requests of devices have a dozen; a datagram has room for 65,000, which take 0.1 s to read."""
EXTENDED: Final = 269
"""Smallest delta or length in the two-octet form."""

_VERSION: Final = 1
_TYPES: Final = tuple(Type)
_RESERVED_CLASSES: Final = frozenset((1, 6, 7))
# RFC 7252 table 4, RFC 7641 §2, RFC 7959 table 1 and RFC 7967 §2.
_LENGTHS: Final = {
    1: (0, 8),
    3: (1, 255),
    4: (1, 8),
    5: (0, 0),
    6: (0, 3),
    7: (0, 2),
    8: (0, 255),
    11: (0, 255),
    12: (0, 2),
    14: (0, 4),
    15: (0, 255),
    17: (0, 2),
    20: (0, 255),
    23: (0, 3),
    27: (0, 3),
    28: (0, 4),
    35: (1, 1034),
    39: (1, 255),
    60: (0, 4),
    258: (0, 1),
}
_TEXT: Final = frozenset(
    {
        *(Option.LOCATION_PATH, Option.URI_PATH, Option.URI_QUERY),
        *(Option.LOCATION_QUERY, Option.PROXY_URI, Option.PROXY_SCHEME),
    }
)
_URI_PATH: Final = int(Option.URI_PATH)
Options = tuple[tuple[int, bytes], ...]


@quick
@dataclass(frozen=True, slots=True)
class CoapMessage:
    """One message. ``options`` are (number, value) in the order of their numbers."""

    type: Type
    code: int
    """A `Code`, or a number that it does not list."""
    message_id: int
    token: bytes = b""
    options: Options = ()
    payload: bytes = b""
    unfit: Options = field(default=(), compare=False)
    """Options of a wrong length, which count as unrecognised (RFC 7252 §5.4.3): `encode` leaves them out."""


def decode(datagram: bytes) -> CoapMessage:
    """
    Parse one datagram.

    Raises:
        MalformedMessage: The datagram breaks RFC 7252; ``at`` is the octet where parsing stopped.
    """
    size = len(datagram)
    if size < HEADER.size:
        raise MalformedMessage(f"{size} octets, a CoAP header has {HEADER.size}", at=size)
    first, code, message_id = HEADER.unpack_from(datagram)
    if first >> 6 != _VERSION:
        raise MalformedMessage(f"version is {first >> 6}, wanted {_VERSION}", at=0)
    kind = _TYPES[first >> 4 & 3]
    token_length = first & 15
    if token_length > MAX_TOKEN:
        raise MalformedMessage(f"token length is {token_length}, wanted at most {MAX_TOKEN}", at=0)
    at = HEADER.size + token_length
    if at > size:
        raise MalformedMessage(f"token of {token_length} octets, {size - HEADER.size} are left", at=HEADER.size)
    if code < 32:
        _check_request_or_empty(kind, code, size)
    elif code >> 5 in _RESERVED_CLASSES:
        raise MalformedMessage(f"code {name_of_code(code)} is in a reserved class, wanted 0, 2, 4 or 5", at=1)
    elif kind is Type.RST:
        raise MalformedMessage(f"a reset with code {name_of_code(code)}, wanted 0.00", at=1)
    token = datagram[HEADER.size : at]
    options: list[tuple[int, bytes]] = []
    unfit: list[tuple[int, bytes]] | None = None
    number = 0
    while at < size:
        octet = datagram[at]
        if octet == PAYLOAD_MARKER:
            if at + 1 == size:
                raise MalformedMessage("payload marker without payload", at=at)
            return CoapMessage(
                kind, code, message_id, token, tuple(options), datagram[at + 1 :], tuple(unfit) if unfit else ()
            )
        delta, length = octet >> 4, octet & 15
        start = at + 1
        if delta > 12:
            delta, start = _extended(datagram, delta, start, at, "delta")
        if length > 12:
            length, start = _extended(datagram, length, start, at, "length")
        number += delta
        end = start + length
        if end > size:
            raise MalformedMessage(f"option {number} has {length} octets, {size - start} are left", at=at)
        value = datagram[start:end]
        if len(options) + (len(unfit) if unfit else 0) == MAX_OPTIONS:
            raise MalformedMessage(f"over {MAX_OPTIONS} options", at=at)
        if number in _LENGTHS:
            low, high = _LENGTHS[number]
            if not low <= length <= high:
                unfit = unfit or []
                unfit.append((number, value))
                at = end
                continue
            if number in _TEXT:
                _check_text(number, value, start)
        elif number > MAX_OPTION:
            raise MalformedMessage(f"option number {number}, wanted at most {MAX_OPTION}", at=at)
        options.append((number, value))
        at = end
    return CoapMessage(kind, code, message_id, token, tuple(options), b"", tuple(unfit) if unfit else ())


def encode(message: CoapMessage) -> bytes:
    """
    Write a message.

    Its options must be in the order of their numbers, its token 8 octets at most; `decode` gives
    the same message again if the option values have the format of their numbers.
    """
    return write(message.type, message.code, message.message_id, message.token, message.options, message.payload)


def write(kind: Type, code: int, message_id: int, token: bytes, options: Options, payload: bytes) -> bytes:
    """Write a message given by its fields, as `encode` does."""
    assert len(token) <= MAX_TOKEN, "tokens have at most 8 octets"
    head = HEADER.pack(_VERSION << 6 | kind << 4 | len(token), code, message_id)
    if not options:
        return head + token + b"\xff" + payload if payload else head + token
    parts = [head, token]
    previous = 0
    for number, value in options:
        delta, extended_delta = _shorten(number - previous)
        length, extended_length = _shorten(len(value))
        parts += (bytes((delta << 4 | length,)), extended_delta, extended_length, value)
        previous = number
    if payload:
        parts += (b"\xff", payload)
    return b"".join(parts)


def option_of(message: CoapMessage, number: int) -> bytes | None:
    """Return the value of the first option with this number."""
    for each, value in message.options:
        if each == number:
            return value
    return None


def uint(value: int) -> bytes:
    """Write the value of an option of format uint (RFC 7252 §3.2): no leading zeros."""
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def name_of_code(code: int) -> str:
    """Return the usual text of a code: ``4.02``."""
    return f"{code >> 5}.{code & 31:02}"


def _check_request_or_empty(kind: Type, code: int, size: int) -> None:
    """Reject octets after an empty message, and a type that does not fit the code (RFC 7252 §4.1-4.3)."""
    if code:
        if kind >= Type.ACK:
            word = "an acknowledgement" if kind is Type.ACK else "a reset"
            raise MalformedMessage(f"{word} with request code {name_of_code(code)}, wanted 0.00", at=1)
    elif size > HEADER.size:
        raise MalformedMessage(f"empty message (0.00) of {size} octets, wanted {HEADER.size}", at=HEADER.size)
    elif kind is Type.NON:
        raise MalformedMessage("non-confirmable message with code 0.00, wanted a request or a response", at=1)


def _extended(datagram: bytes, nibble: int, start: int, at: int, what: str) -> tuple[int, int]:
    """Return the value of an extended delta or length, and the offset of the next field."""
    if nibble == 15:
        raise MalformedMessage(f"option {what} nibble is 15 without a payload marker, wanted 0 to 14", at=at)
    octets = nibble - 12
    end = start + octets
    if end > len(datagram):
        raise MalformedMessage(f"option {what} wants {octets} more octets, {len(datagram) - start} are left", at=start)
    base = 13 if nibble == 13 else EXTENDED
    return base + int.from_bytes(datagram[start:end], "big"), end


def _shorten(value: int) -> tuple[int, bytes]:
    """Return the nibble of a delta or a length, and its extension octets."""
    assert 0 <= value < EXTENDED + (1 << 16), "deltas and lengths are 0 to 65804"
    if value < 13:
        return value, b""
    if value < EXTENDED:
        return 13, bytes((value - 13,))
    return 14, (value - EXTENDED).to_bytes(2, "big")


def _check_text(number: int, value: bytes, start: int) -> None:
    try:
        value.decode()
    except UnicodeDecodeError as exc:
        if number == _URI_PATH and b"\0" in value:
            return
        raise MalformedMessage(
            f"option {number} is not UTF-8: {value[exc.start]:#04x} cannot stand there", at=start + exc.start
        ) from None
