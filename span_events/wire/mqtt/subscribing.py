"""Subscribing: the packets of an MQTT 3.1.1 client that subscribes at a broker (OASIS MQTT 3.1.1)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from span_events.errors import MalformedMessage
from span_events.wire.mqtt.fields import binary
from span_events.wire.mqtt.packets import Kind
from span_events.wire.mqtt.publishing import packet

PING_REQUEST: Final = bytes((Kind.PINGREQ << 4, 0))
FAILURE: Final = 0x80
"""Return code of SUBACK for a filter that is refused (3.9.3)."""
_SUBSCRIBE: Final = Kind.SUBSCRIBE << 4 | 0x02
_LONGEST_HEAD: Final = 5
_KINDS: Final = frozenset({Kind.CONNACK, Kind.PUBLISH, Kind.SUBACK, Kind.PINGRESP})


@dataclass(frozen=True, slots=True)
class Accepted:
    """The broker's answer to CONNECT; ``code`` is 0, or one of `publishing.REFUSALS`."""

    code: int
    has_session: bool
    """True if the broker has kept the subscriptions of an earlier connection."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker's answer to SUBSCRIBE: the granted QoS of each filter, or `FAILURE`."""

    codes: bytes


@dataclass(frozen=True, slots=True)
class Publication:
    """A message; its payload is None if the packet was too long to be kept."""

    topic: str
    payload: bytes | None
    packet_id: int
    """For its acknowledgement; 0 with QoS 0."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The broker's answer to PINGREQ."""


Packet = Accepted | Subscribed | Publication | Pong


def subscribe(packet_id: int, filters: Sequence[str], qos: int) -> bytes:
    """Write SUBSCRIBE (3.8)."""
    asked = b"".join(binary(each.encode()) + bytes((qos,)) for each in filters)
    return packet(_SUBSCRIBE, struct.pack("!H", packet_id) + asked)


def acknowledgement(packet_id: int) -> bytes:
    """Write PUBACK (3.4)."""
    return packet(Kind.PUBACK << 4, struct.pack("!H", packet_id))


class BrokerPackets:
    """
    Decodes the octets of a broker.

    Args:
        longest: Octets of the longest packet; the rest of a longer publication is passed over.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._octets = bytearray()
        self._to_skip = 0

    @property
    def waiting(self) -> int:
        """Octets that are not decoded yet."""
        return len(self._octets)

    def feed(self, octets: bytes) -> list[Packet]:
        """
        Append octets of the broker; return the packets that are complete.

        Raises:
            MalformedMessage: A packet is not valid, or one that no broker sends to such a client.
        """
        passed = min(self._to_skip, len(octets))
        self._to_skip -= passed
        self._octets += memoryview(octets)[passed:]
        found: list[Packet] = []
        at = 0
        while (head := _head(self._octets, at)) is not None:
            begin, length = head
            first = self._octets[at]
            if begin - at + length > self._longest:
                known = _topic(self._octets, begin, first)
                if known is None:
                    break
                topic, packet_id, end = known
                if end - begin > length:
                    raise MalformedMessage("the topic of PUBLISH ends behind the packet", at=1)
                found.append(Publication(topic, None, packet_id))
                at = min(begin + length, len(self._octets))
                self._to_skip = begin + length - at
                continue
            if len(self._octets) < begin + length:
                break
            at = begin + length
            found.append(_packet(first, bytes(self._octets[begin:at])))
        del self._octets[:at]
        return found


def _head(octets: bytearray, at: int) -> tuple[int, int] | None:
    """
    Return where the packet's fields begin, and their length; None if that is not complete.

    Raises:
        MalformedMessage: No broker sends such a packet.
    """
    if at < len(octets) and octets[at] >> 4 not in _KINDS:  # at once: the length of what is no MQTT may be anything
        raise MalformedMessage(f"a packet begins with {octets[at]:#04x}: no answer of a broker", at=0)
    length = 0
    for index in range(at + 1, at + _LONGEST_HEAD):
        if index >= len(octets):
            return None
        length |= (octets[index] & 0x7F) << 7 * (index - at - 1)
        if not octets[index] & 0x80:
            return index + 1, length
    raise MalformedMessage("the length of the packet has over 4 octets", at=1)


def _topic(octets: bytes | bytearray, begin: int, first: int) -> tuple[str, int, int] | None:
    """Return topic and packet id of a publication, and where its payload begins; None if they are not complete."""
    qos = first >> 1 & 3
    if first >> 4 != Kind.PUBLISH or qos > 1:
        raise MalformedMessage(f"the packet begins with {first:#04x}: too long, or not subscribed to", at=0)
    end = begin + 2
    if len(octets) < end:
        return None
    end += int.from_bytes(octets[begin:end], "big")
    payload = end + (2 if qos else 0)
    if len(octets) < payload:
        return None
    try:
        topic = octets[begin + 2 : end].decode()
    except UnicodeDecodeError:
        raise MalformedMessage("a topic is not UTF-8", at=begin) from None
    return topic, int.from_bytes(octets[end:payload], "big"), payload


def _packet(first: int, body: bytes) -> Packet:
    kind = first >> 4
    match kind:
        case Kind.PUBLISH:
            known = _topic(body, 0, first)
            if known is None:
                raise MalformedMessage("the topic of PUBLISH ends behind the packet", at=1)
            topic, packet_id, begin = known
            return Publication(topic, body[begin:], packet_id)
        case Kind.CONNACK if len(body) == 2:
            return Accepted(body[1], bool(body[0] & 1))
        case Kind.SUBACK if len(body) > 2:
            return Subscribed(body[2:])
        case Kind.PINGRESP if not body:
            return Pong()
    raise MalformedMessage(f"a packet of type {kind} with {len(body)} octets is no answer of a broker", at=0)
