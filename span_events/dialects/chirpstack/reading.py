"""
Bodies of ChirpStack's events: JSON or protobuf, read leniently into the fields of JSON.

Versions of ChirpStack differ in the fields that they write, and consumers re-serialise events. So any field may be
absent, null or of another type, and reads as its default; only the body itself must be well-formed.
"""

from __future__ import annotations

import binascii
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Final

import orjson
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.message import DecodeError

from span_events.dialects.chirpstack.encoding import MESSAGES
from span_events.dialects.chirpstack.rules import Kind
from span_events.errors import InvalidRequest
from span_events.events.activity import Moment

_YEAR_10000: Final = 253_402_300_800_000
"""Unix milliseconds."""
_DIGITS: Final = 20


class Fields:
    """The fields of a JSON object; what is not an object has none."""

    def __init__(self, value: object) -> None:
        self.values: Mapping[str, Any] = value if isinstance(value, dict) else {}

    def text(self, name: str) -> str:
        """Return a text; empty if there is none."""
        value = self.values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """Return a number, also one that is written as text; None if there is none."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | str) or len(str(value)) > _DIGITS:
            return None
        try:
            number = float(value)
        except ValueError:
            return None
        return number if isfinite(number) else None

    def integer(self, name: str) -> int | None:
        """Return a whole number; None if there is none."""
        number = self.number(name)
        return None if number is None else int(number)

    def flag(self, name: str) -> bool:
        """Return whether a field is true."""
        return self.values.get(name) in (True, "true")

    def inside(self, name: str) -> Fields:
        """Return the fields of an object."""
        return Fields(self.values.get(name))

    def each(self, name: str) -> list[Fields]:
        """Return the fields of the objects of a list."""
        value = self.values.get(name)
        return [Fields(each) for each in value] if isinstance(value, list) else []

    def texts(self, name: str) -> dict[str, str]:
        """Return the texts and numbers of an object, as texts."""
        return {
            key: str(value)
            for key, value in self.inside(name).values.items()
            if isinstance(value, str | int | float) and not isinstance(value, bool)
        }

    def time(self, name: str) -> Moment | None:
        """Return a time of RFC 3339 with any offset; None if there is none."""
        try:
            moment = datetime.fromisoformat(self.text(name))
            milliseconds = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
        except (ValueError, OverflowError):
            return None
        return Moment(milliseconds) if 0 <= milliseconds < _YEAR_10000 else None

    def octets(self, name: str) -> bytes:
        """
        Return octets in base64, with or without padding, of either alphabet.

        Raises:
            InvalidRequest: The text is no base64.
        """
        text = self.text(name).rstrip("=")
        text += "=" * (-len(text) % 4)
        try:
            return urlsafe_b64decode(text) if "-" in text or "_" in text else b64decode(text, validate=True)
        except (binascii.Error, ValueError) as exc:
            raise InvalidRequest(f"{name}: is no base64: {exc}", field=name) from exc


def is_json(octets: bytes, content_type: str) -> bool:
    """Return whether a body is JSON: its first octet says so, else its media type; protobuf begins with a field."""
    return octets.startswith(b"{") or "json" in content_type.lower()


def read(kind: Kind, octets: bytes, *, content_type: str = "") -> Fields:
    """
    Read a body.

    Args:
        content_type: Media type, if the transport has one.

    Raises:
        InvalidRequest: The body is neither JSON nor protobuf of its kind.
    """
    if is_json(octets, content_type):
        try:
            value = orjson.loads(octets)
        except orjson.JSONDecodeError as exc:
            raise InvalidRequest(f"The body is not JSON: {exc.msg} (line {exc.lineno}, column {exc.colno})") from exc
        if not isinstance(value, dict):
            raise InvalidRequest("The body is JSON, but no object")
        return Fields(value)
    try:
        return Fields(MessageToDict(MESSAGES[kind].FromString(octets)))
    except (DecodeError, SerializeToJsonError, ValueError, OverflowError, RecursionError) as exc:
        raise InvalidRequest(f"The body is neither JSON nor the protobuf of {kind.value!r}") from exc
