"""
The form of activities and messages between nodes: a line of JSON each, several joined in one NATS message.

The first line of a NATS message names its sender, so that a node skips its own. An activity is an array of its
identifiers and a table of the event's keys as the catalogue declares them. Nodes of different releases work together:
a node skips events and keys that it does not know, and counts them.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any, Final

import orjson

from span_events.events.activity import Activity, Event, Key, Origin
from span_events.events.catalogue import CATALOGUE, KEYS
from span_events.events.message import Message, Transport

_LARGEST: Final = (1 << 64) - 1
_PORTS: Final = 1 << 16


class Undecodable(Exception):
    """A line is no activity or message of ours; the text says why."""


class UnknownEvent(Undecodable):
    """A line is an event that this release does not have."""


def pack(sender: bytes, lines: Sequence[bytes]) -> bytes:
    """Join lines to one NATS message."""
    return b"\n".join((sender, *lines))


def unpack(data: bytes) -> tuple[bytes, list[bytes]]:
    """Split a NATS message into its sender and its lines."""
    sender, *lines = data.split(b"\n")
    return sender, lines


def encode(activity: Activity) -> bytes:
    """Write an activity as a line, without the newline."""
    event = activity.event
    names, values_of = _WRITERS[event.__class__]
    origin = event.origin
    return orjson.dumps(
        [
            activity.id,
            activity.time_ns,
            event.name,
            origin.collection_id,
            origin.device_id,
            origin.gateway_id,
            event.correlation_id,
            event.session_id,
            {name: value for name, value in zip(names, values_of(event), strict=True) if value is not None},
        ]
    )


class Reader:
    """Reads lines of other nodes, and counts the lines that it had to skip."""

    def __init__(self) -> None:
        self.skipped = {"unknown": 0, "malformed": 0}
        """Events that were skipped: those of a newer release, and those that are damaged."""

    def activities(self, lines: Sequence[bytes]) -> Iterator[Activity]:
        """Yield the activities of lines."""
        return self._each(lines, decode)

    def messages(self, lines: Sequence[bytes]) -> Iterator[Message]:
        """Yield the upstream messages of lines."""
        return self._each(lines, decode_message)

    def _each(self, lines: Sequence[bytes], read: Callable[[bytes], Any]) -> Iterator[Any]:
        for line in lines:
            try:
                yield read(line)
            except UnknownEvent:
                self.skipped["unknown"] += 1
            except Undecodable:
                self.skipped["malformed"] += 1


def decode(line: bytes) -> Activity:
    """
    Read an activity; keys that this release does not have are ignored, and so are further elements.

    Raises:
        UnknownEvent: This release has no event of that name.
        Undecodable: The line is no activity.
    """
    identifier, time_ns, name, collection, device, gateway, correlation, session, data = _array(line, 9)
    kind = CATALOGUE.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UnknownEvent(f"{name!r} is no event of this release")
    if not isinstance(data, dict):
        raise Undecodable(f"the keys of {name} are no table")
    values = {}
    for key, attribute, is_required, read in _READERS[kind]:
        value = data.get(key)
        if value is not None:
            try:
                values[attribute] = read(value)
                continue
            except (ValueError, TypeError):  # a reason of a newer release, for example
                pass
        if is_required:
            raise Undecodable(f"{name} has no valid {key}")
    return Activity(
        _number(identifier),
        _number(time_ns),
        kind(
            origin=_origin(collection, device, gateway),
            correlation_id=_number_or_none(correlation),
            session_id=_number_or_none(session),
            **values,
        ),
    )


def encode_message(message: Message) -> bytes:
    """Write an upstream message as a line, without the newline."""
    origin = message.origin
    return orjson.dumps(
        [
            message.id,
            message.received_ns,
            origin.collection_id,
            origin.device_id,
            origin.gateway_id,
            message.transport,
            b64encode(message.payload).decode(),
            message.local_port,
            message.remote_port,
            message.coap_code,
            message.coap_path,
            message.gateway_metadata,
        ]
    )


def decode_message(line: bytes) -> Message:
    """
    Read an upstream message.

    Raises:
        Undecodable: The line is no message.
    """
    identifier, received_ns, collection, device, gateway, transport, *rest = _array(line, 12)
    payload, local_port, remote_port, code, path, metadata = rest
    try:
        return Message(
            _number(identifier),
            _origin(collection, device, gateway),
            _number(received_ns),
            Transport(transport),
            b64decode(_text(payload), validate=True),
            _port(local_port),
            _port(remote_port),
            _text(code),
            _text(path),
            tuple((_text(name), _text(value)) for name, value in metadata),
        )
    except (Base64Error, ValueError, TypeError) as exc:
        raise Undecodable(f"no message: {exc}") from exc


def _array(line: bytes, length: int) -> list[Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as exc:
        raise Undecodable(f"no JSON: {exc}") from exc
    if not isinstance(found, list) or len(found) < length:
        raise Undecodable(f"no array of {length}")
    return found[:length]


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST:
        raise Undecodable(f"{value!r} is no identifier or time")
    return value


def _number_or_none(value: object) -> int | None:
    return None if value is None else _number(value)


def _origin(collection: object, device: object, gateway: object) -> Origin:
    return Origin(_number_or_none(collection), _number_or_none(device), _number_or_none(gateway))


def _port(value: object) -> int:
    if type(value) is not int or not 0 <= value < _PORTS:
        raise ValueError(f"{value!r} is no port")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _whole(value: object) -> int:
    if type(value) is not int:
        raise TypeError(f"{value!r} is no whole number")
    return value


def _real(value: object) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"{value!r} is no number")
    return value  # type: ignore[return-value]  # one of both


def _reader_of(key: Key) -> Callable[[Any], object]:
    """Return the function that reads the value of a key."""
    if isinstance(key.kind, type) and issubclass(key.kind, Enum):
        return key.kind
    if key.kind is str:
        return _text
    return _real if key.kind is float else _whole


def _writer_of(keys: tuple[Key, ...]) -> tuple[tuple[str, ...], Callable[[Event], tuple[object, ...]]]:
    """Return the names of keys, and the function that reads their values from an event."""
    attributes = [key.attribute for key in keys]
    if not attributes:
        return (), lambda event: ()
    get = attrgetter(*attributes)
    return tuple(key.name for key in keys), get if len(attributes) > 1 else lambda event: (get(event),)


_WRITERS: Final = {kind: _writer_of(keys) for kind, keys in KEYS.items()}
_READERS: Final = {
    kind: [(key.name, key.attribute, not (key.optional or key.extension), _reader_of(key)) for key in keys]
    for kind, keys in KEYS.items()
}
