"""
Packets that the server sends: answers for one client, and publications that are encoded once for many.

A publication's *line* is its topic with its payload, the same in each version; `publish_3` and `publish_5` make a
packet of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from span_events.wire.mqtt.fields import Properties, Property, properties, variable
from span_events.wire.mqtt.packets import Kind, Version
from span_events.wire.mqtt.reasons import CONNECT_CODES, FAILURE, Reason

PING_RESPONSE: Final = bytes((Kind.PINGRESP << 4, 0))
_PUBLISH: Final = bytes((Kind.PUBLISH << 4,))
"""QoS 0, not retained, no duplicate."""
_NO_PROPERTIES: Final = b"\0"
_LONGEST_TEXT: Final = 1_000
"""Octets of a reason for people."""


def connack(version: Version, reason: Reason, values: Properties) -> bytes:
    """
    Answer a CONNECT; empty where MQTT 3.1.1 has no return code for a reason.

    Args:
        values: Properties, for MQTT 5.
    """
    if version is Version.V5:
        return _packet(Kind.CONNACK, bytes((0, reason)) + properties(values))
    code = CONNECT_CODES.get(reason)
    return b"" if code is None else _packet(Kind.CONNACK, bytes((0, code)))


def suback(version: Version, packet_id: int, reasons: Sequence[Reason], text: str = "") -> bytes:
    """Answer a SUBSCRIBE: one reason for each filter, `Reason.SUCCESS` for QoS 0."""
    head = packet_id.to_bytes(2, "big")
    if version is Version.V5:
        return _packet(Kind.SUBACK, head + properties(reason_string(text)) + bytes(reasons))
    return _packet(Kind.SUBACK, head + bytes(each and FAILURE for each in reasons))


def unsuback(version: Version, packet_id: int, reasons: Sequence[Reason]) -> bytes:
    """Answer an UNSUBSCRIBE."""
    head = packet_id.to_bytes(2, "big")
    return _packet(Kind.UNSUBACK, head + _NO_PROPERTIES + bytes(reasons) if version is Version.V5 else head)


def disconnect(version: Version, reason: Reason, text: str = "") -> bytes:
    """Announce the end of a connection; empty in MQTT 3.1.1, where servers do not."""
    if version is not Version.V5:
        return b""
    return _packet(Kind.DISCONNECT, bytes((reason,)) + properties(reason_string(text)))


def reason_string(text: str) -> Properties:
    """Return the property with a text for people, if there is one."""
    shortened = text.encode()[:_LONGEST_TEXT].decode(errors="ignore")
    return {Property.REASON_STRING: shortened} if shortened else {}


def line(topic: bytes, payload: bytes) -> bytes:
    """Write a publication in the form that all versions share."""
    return b"".join((len(topic).to_bytes(2, "big"), topic, payload))


def publish_3(publication: bytes) -> bytes:
    """Make a PUBLISH packet of MQTT 3.1.1 from a line."""
    return b"".join((_PUBLISH, variable(len(publication)), publication))


def publish_5(publication: bytes) -> bytes:
    """Make a PUBLISH packet of MQTT 5 from a line; it has no properties."""
    end = 2 + int.from_bytes(publication[:2], "big")
    return b"".join(
        (_PUBLISH, variable(len(publication) + 1), publication[:end], _NO_PROPERTIES, publication[end:]),
    )


def _packet(kind: Kind, body: bytes) -> bytes:
    return bytes((kind << 4,)) + variable(len(body)) + body
