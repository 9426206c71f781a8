"""
Firmware reports and responses: fields of ``id | length | value``, with one octet each for id and length.

The report has the firmware version of a device, the response the place of an update. The format is Span's; there is
no RFC. Devices copy fields into buffers without checking the length, so `encode_response` refuses longer values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from span_events.errors import MalformedMessage

MAX_HOST: Final = 24
"""Characters of a download host; the smallest buffer in the field has 25 octets."""
MAX_PATH: Final = 9
"""Characters of a download path with its slash; the smallest buffer has 10 octets."""
MAX_TEXT: Final = 255
"""Octets of a text in a report at most, because the length is one octet."""

_VERSION: Final = 1
_MODEL_NUMBER: Final = 2
_SERIAL_NUMBER: Final = 3
_MANUFACTURER: Final = 4

_HOST: Final = 1
_PORT: Final = 2
_PATH: Final = 3
_AVAILABLE: Final = 4


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a device; a missing text is empty."""

    version: str
    model_number: str = ""
    serial_number: str = ""
    manufacturer: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a report: availability and place of an update."""

    host: str
    """Name or IPv4 address."""
    port: int
    path: str
    available: bool


def decode_report(payload: bytes) -> Report:
    """
    Decode a report: its fields may have any order, and only the version is required.

    Unknown fields are ignored, a later field replaces an earlier one of the same id, and a text ends at its first NUL.

    Raises:
        MalformedMessage: A field is truncated or not UTF-8, or the version is missing; ``at`` is its octet.
    """
    texts: dict[int, str] = {}
    for number, at, value in _fields(payload):
        if _VERSION <= number <= _MANUFACTURER:
            texts[number] = _text(number, at, value)
    version = texts.get(_VERSION, "")
    if not version:
        seen = "an empty version" if _VERSION in texts else "no version"
        raise MalformedMessage(f"the report has {seen}, wanted field {_VERSION} with text", at=len(payload))
    return Report(version, texts.get(_MODEL_NUMBER, ""), texts.get(_SERIAL_NUMBER, ""), texts.get(_MANUFACTURER, ""))


def encode_report(report: Report) -> bytes:
    """Encode a report in the way of devices; texts have at most `MAX_TEXT` octets, and empty texts are omitted."""
    texts = (
        (_VERSION, report.version),
        (_MANUFACTURER, report.manufacturer),
        (_SERIAL_NUMBER, report.serial_number),
        (_MODEL_NUMBER, report.model_number),
    )
    return b"".join(_field(number, text.encode()) for number, text in texts if text)


def encode_response(response: Response) -> bytes:
    """
    Encode a response: always all four fields, because some devices do not initialise a missing one.

    Host and path must be ASCII, and within `MAX_HOST` and `MAX_PATH`.
    """
    host, path = response.host.encode("ascii"), response.path.encode("ascii")
    assert len(host) <= MAX_HOST, "a longer host overflows the buffers of devices"
    assert len(path) <= MAX_PATH, "a longer path overflows the buffers of devices"
    return (
        _field(_HOST, host)
        + _field(_PORT, response.port.to_bytes(4, "big"))
        + _field(_PATH, path)
        + _field(_AVAILABLE, bytes((response.available,)))
    )


def decode_response(payload: bytes) -> Response:
    """
    Decode a response, with the checks that devices lack.

    Raises:
        MalformedMessage: A field is missing, unknown, truncated or has a wrong length.
    """
    found: dict[int, bytes] = {}
    for number, at, value in _fields(payload):
        if not _HOST <= number <= _AVAILABLE:
            raise MalformedMessage(f"field {number}, wanted {_HOST} to {_AVAILABLE}", at=at)
        wanted = _LENGTHS.get(number, len(value))
        if len(value) != wanted:
            raise MalformedMessage(f"field {number} has {len(value)} octets, wanted {wanted}", at=at)
        if number in (_HOST, _PATH) and not value.isascii():
            raise MalformedMessage(f"field {number} is not ASCII", at=at)
        found[number] = value
    missing = [number for number in (_HOST, _PORT, _PATH, _AVAILABLE) if number not in found]
    if missing:
        raise MalformedMessage(f"field {missing[0]} is missing", at=len(payload))
    port = int.from_bytes(found[_PORT], "big")
    return Response(found[_HOST].decode(), port, found[_PATH].decode(), found[_AVAILABLE] == b"\x01")


_LENGTHS: Final = {_PORT: 4, _AVAILABLE: 1}


def _fields(payload: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the id, the offset and the value of each field."""
    at, size = 0, len(payload)
    while at < size:
        number = payload[at]
        if at + 1 == size:
            raise MalformedMessage(f"field {number} has no length", at=at)
        length, start = payload[at + 1], at + 2
        if start + length > size:
            raise MalformedMessage(f"field {number} says {length} octets, {size - start} are left", at=at)
        yield number, at, payload[start : start + length]
        at = start + length


def _field(number: int, value: bytes) -> bytes:
    assert len(value) <= MAX_TEXT, "the length is one octet"
    return bytes((number, len(value))) + value


def _text(number: int, at: int, value: bytes) -> str:
    """Decode a text; devices written in C may send its final NUL and the rest of their buffer."""
    value = value.partition(b"\0")[0]
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        wrong = at + 2 + exc.start
        raise MalformedMessage(f"field {number} is not UTF-8: {value[exc.start]:#04x} stands there", at=wrong) from None
