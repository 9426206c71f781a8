"""
What devices and server tell each other about firmware: a row of ``id | length | value``, id and length one octet each.

The report says what a device runs, the response where to download. No RFC: the format is Span's. Devices
copy what they get into buffers without looking at its length, so `encode_response` refuses what would overflow one.
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
"""Octets of a text in a report: its length is one octet."""

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
    """What a device says of itself; empty is not said."""

    version: str
    model_number: str = ""
    serial_number: str = ""
    manufacturer: str = ""


@dataclass(frozen=True, slots=True)
class Response:
    """Whether an update waits, and where."""

    host: str
    """Name or IPv4 address."""
    port: int
    path: str
    available: bool


def decode_report(payload: bytes) -> Report:
    """
    Read a report: fields in any order, of which only the version must be there.

    Fields that we do not know are ignored, the last one of a kind counts, and so does a text up to its first NUL.

    Raises:
        MalformedMessage: A field is cut off or not UTF-8, or there is no version; ``at`` is the octet in the payload.
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
    """Write a report as devices do; texts have at most `MAX_TEXT` octets, and empty ones are left out."""
    texts = (
        (_VERSION, report.version),
        (_MANUFACTURER, report.manufacturer),
        (_SERIAL_NUMBER, report.serial_number),
        (_MODEL_NUMBER, report.model_number),
    )
    return b"".join(_field(number, text.encode()) for number, text in texts if text)


def encode_response(response: Response) -> bytes:
    """
    Write a response: always all four fields, because some devices leave what is missing uninitialised.

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
    Read a response as devices do, but with care.

    Raises:
        MalformedMessage: A field is missing, unknown, cut off or has a length that it cannot have.
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
    """Yield the id, the place and the value of each field."""
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
    """Read a text; devices written in C send the NUL at its end, and perhaps what comes after it in their buffer."""
    value = value.partition(b"\0")[0]
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        wrong = at + 2 + exc.start
        raise MalformedMessage(f"field {number} is not UTF-8: {value[exc.start]:#04x} stands there", at=wrong) from None
