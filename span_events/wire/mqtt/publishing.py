"""Publishing: the packets of an MQTT 3.1.1 client that publishes and does not subscribe (OASIS MQTT 3.1.1)."""

from __future__ import annotations

import struct
from typing import Final

from span_events.errors import MalformedMessage
from span_events.wire.mqtt.fields import MOST_LENGTH, binary, variable
from span_events.wire.mqtt.packets import Kind, Version

DISCONNECT: Final = bytes((Kind.DISCONNECT << 4, 0))
REFUSALS: Final = {
    1: "unacceptable protocol version",
    2: "client identifier rejected",
    3: "server unavailable",
    4: "bad user name or password",
    5: "not authorized",
}
"""Return codes of CONNACK (3.2.2.3)."""
MAX_TEXT: Final = 65_535
"""Octets of a text (1.5.3)."""
_CONNECT: Final = Kind.CONNECT << 4
_PUBLISH: Final = Kind.PUBLISH << 4 | 0x02
"""QoS 1, not retained, no duplicate."""


def connect(
    client_id: str, username: str = "", password: str = "", *, keep_alive: int = 0, clean: bool = True
) -> bytes:
    """
    Write CONNECT; without a client id, the server picks one (3.1).

    Args:
        keep_alive: Seconds within which the client promises a packet; 0 promises none.
        clean: Begin a new session; otherwise the broker keeps that of the client id.
    """
    flags = (0x02 if clean else 0) | (0x80 if username else 0) | (0x40 if username and password else 0)
    body = _text("MQTT") + struct.pack("!BBH", Version.V3_1_1, flags, keep_alive) + _text(client_id)
    if username:
        body += _text(username) + (_text(password) if password else b"")
    return packet(_CONNECT, body)


def publication(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Write PUBLISH with QoS 1 (3.3)."""
    return packet(_PUBLISH, _text(topic) + struct.pack("!H", packet_id) + payload)


def reply(octets: bytes) -> tuple[int, int]:
    """
    Read a reply of four octets; return its type, and the return code of CONNACK or the packet id of PUBACK.

    Raises:
        MalformedMessage: It is neither.
    """
    kind, length, value = struct.unpack("!BBH", octets)
    if length != 2 or kind & 0x0F or kind >> 4 not in (Kind.CONNACK, Kind.PUBACK):
        raise MalformedMessage(f"{octets.hex()} is neither CONNACK nor PUBACK of MQTT 3.1.1", at=0)
    return kind >> 4, value & 0xFF if kind >> 4 == Kind.CONNACK else value


def _text(text: str) -> bytes:
    return binary(text.encode())


def packet(first: int, body: bytes) -> bytes:
    """
    Write a packet: the fixed header before a body (2.2).

    Raises:
        ValueError: The body is too long.
    """
    if len(body) > MOST_LENGTH:
        raise ValueError(f"{len(body)} octets, at most {MOST_LENGTH}")
    return bytes((first,)) + variable(len(body)) + body
