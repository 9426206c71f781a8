"""Fields of MQTT packets: integers, texts, binary data, and the properties of MQTT 5 (2.2.2)."""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum, IntEnum, auto
from types import MappingProxyType
from typing import Final

from span_events.wire.mqtt.reasons import PacketRefused, Reason

MOST_LENGTH: Final = 268_435_455
"""Largest value of a variable byte integer."""


class Property(IntEnum):
    """Properties of MQTT 5."""

    PAYLOAD_FORMAT_INDICATOR = 1
    MESSAGE_EXPIRY_INTERVAL = 2
    CONTENT_TYPE = 3
    RESPONSE_TOPIC = 8
    CORRELATION_DATA = 9
    SUBSCRIPTION_IDENTIFIER = 11
    SESSION_EXPIRY_INTERVAL = 17
    ASSIGNED_CLIENT_IDENTIFIER = 18
    AUTHENTICATION_METHOD = 21
    AUTHENTICATION_DATA = 22
    REQUEST_PROBLEM_INFORMATION = 23
    WILL_DELAY_INTERVAL = 24
    REQUEST_RESPONSE_INFORMATION = 25
    REASON_STRING = 31
    RECEIVE_MAXIMUM = 33
    TOPIC_ALIAS_MAXIMUM = 34
    TOPIC_ALIAS = 35
    MAXIMUM_QOS = 36
    RETAIN_AVAILABLE = 37
    USER_PROPERTY = 38
    MAXIMUM_PACKET_SIZE = 39
    SUBSCRIPTION_IDENTIFIERS_AVAILABLE = 41
    SHARED_SUBSCRIPTIONS_AVAILABLE = 42


class _Kind(Enum):
    OCTET = auto()
    SHORT = auto()
    LONG = auto()
    VARIABLE = auto()
    TEXT = auto()
    BINARY = auto()


_KINDS: Final = MappingProxyType(
    {
        Property.PAYLOAD_FORMAT_INDICATOR: _Kind.OCTET,
        Property.MESSAGE_EXPIRY_INTERVAL: _Kind.LONG,
        Property.CONTENT_TYPE: _Kind.TEXT,
        Property.RESPONSE_TOPIC: _Kind.TEXT,
        Property.CORRELATION_DATA: _Kind.BINARY,
        Property.SUBSCRIPTION_IDENTIFIER: _Kind.VARIABLE,
        Property.SESSION_EXPIRY_INTERVAL: _Kind.LONG,
        Property.ASSIGNED_CLIENT_IDENTIFIER: _Kind.TEXT,
        Property.AUTHENTICATION_METHOD: _Kind.TEXT,
        Property.AUTHENTICATION_DATA: _Kind.BINARY,
        Property.REQUEST_PROBLEM_INFORMATION: _Kind.OCTET,
        Property.WILL_DELAY_INTERVAL: _Kind.LONG,
        Property.REQUEST_RESPONSE_INFORMATION: _Kind.OCTET,
        Property.REASON_STRING: _Kind.TEXT,
        Property.RECEIVE_MAXIMUM: _Kind.SHORT,
        Property.TOPIC_ALIAS_MAXIMUM: _Kind.SHORT,
        Property.TOPIC_ALIAS: _Kind.SHORT,
        Property.MAXIMUM_QOS: _Kind.OCTET,
        Property.RETAIN_AVAILABLE: _Kind.OCTET,
        Property.MAXIMUM_PACKET_SIZE: _Kind.LONG,
        Property.SUBSCRIPTION_IDENTIFIERS_AVAILABLE: _Kind.OCTET,
        Property.SHARED_SUBSCRIPTIONS_AVAILABLE: _Kind.OCTET,
    }
)
_NEVER_ZERO: Final = frozenset(
    {
        Property.RECEIVE_MAXIMUM,
        Property.MAXIMUM_PACKET_SIZE,
        Property.SUBSCRIPTION_IDENTIFIER,
    }
)
_KNOWN: Final = {int(each): each for each in Property}
_FLAGS: Final = frozenset({Property.REQUEST_PROBLEM_INFORMATION, Property.REQUEST_RESPONSE_INFORMATION})

Properties = Mapping[Property, int | str | bytes]
"""Properties of a packet, without user properties."""


class Fields:
    """
    Reads the fields of one packet in their order.

    Args:
        octets: The packet.
        at: Index of the first field.
    """

    def __init__(self, octets: bytes, at: int) -> None:
        self._octets = octets
        self.at = at

    @property
    def is_at_end(self) -> bool:
        """True if no field is left."""
        return self.at == len(self._octets)

    def take(self, size: int) -> bytes:
        """
        Read octets; as all the methods below, it refuses a packet that ends early.

        Raises:
            PacketRefused: The field is not valid.
        """
        end = self.at + size
        if end > len(self._octets):
            raise PacketRefused(Reason.MALFORMED_PACKET, f"a field of {size} octets ends behind the packet", at=self.at)
        octets, self.at = self._octets[self.at : end], end
        return octets

    def integer(self, size: int) -> int:
        """Read an integer of so many octets."""
        return int.from_bytes(self.take(size), "big")

    def variable(self) -> int:
        """Read a variable byte integer (1.5.5) in its shortest form."""
        begin = self.at
        value = 0
        for shift in (0, 7, 14, 21):
            octet = self.integer(1)
            value |= (octet & 0x7F) << shift
            if not octet & 0x80:
                if shift and not octet:
                    break
                return value
        raise PacketRefused(
            Reason.MALFORMED_PACKET, "a variable byte integer is over 4 octets, or not in its shortest form", at=begin
        )

    def binary(self) -> bytes:
        """Read binary data, which begins with its length."""
        return self.take(self.integer(2))

    def text(self) -> str:
        """Read UTF-8 text (1.5.4)."""
        begin = self.at
        try:
            text = self.binary().decode()
        except UnicodeDecodeError:
            raise PacketRefused(Reason.MALFORMED_PACKET, "a text is not UTF-8", at=begin) from None
        if "\0" in text:
            raise PacketRefused(Reason.MALFORMED_PACKET, "a text contains U+0000", at=begin)
        return text

    def properties(self, allowed: Set[Property]) -> Properties:
        """
        Read properties.

        Args:
            allowed: Those that this packet may have, besides user properties.
        """
        end = self.variable() + self.at
        if end > len(self._octets):
            raise PacketRefused(Reason.MALFORMED_PACKET, "the properties end behind the packet", at=self.at)
        found: dict[Property, int | str | bytes] = {}
        while self.at < end:
            begin = self.at
            kind = _KNOWN.get(number := self.variable())
            if kind is Property.USER_PROPERTY:
                self.text()
                self.text()
                continue
            if kind is None or kind not in allowed:
                raise PacketRefused(Reason.PROTOCOL_ERROR, f"the property {number} does not belong here", at=begin)
            if kind in found:
                raise PacketRefused(Reason.PROTOCOL_ERROR, f"the property {kind.name} stands here twice", at=begin)
            value = found[kind] = self._value(_KINDS[kind])
            if (kind in _NEVER_ZERO and not value) or (kind in _FLAGS and value not in (0, 1)):
                raise PacketRefused(Reason.PROTOCOL_ERROR, f"the property {kind.name} is {value!r}", at=begin)
        if self.at != end:
            raise PacketRefused(Reason.MALFORMED_PACKET, "a property ends behind the properties", at=end)
        return found

    def _value(self, kind: _Kind) -> int | str | bytes:
        match kind:
            case _Kind.OCTET:
                return self.integer(1)
            case _Kind.SHORT:
                return self.integer(2)
            case _Kind.LONG:
                return self.integer(4)
            case _Kind.VARIABLE:
                return self.variable()
            case _Kind.TEXT:
                return self.text()
            case _:
                return self.binary()


def variable(value: int) -> bytes:
    """Write a variable byte integer; at most `MOST_LENGTH`."""
    if value < 0x80:
        return bytes((value,))
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def binary(octets: bytes) -> bytes:
    """Write binary data; at most 65,535 octets."""
    return len(octets).to_bytes(2, "big") + octets


def properties(values: Properties) -> bytes:
    """Write properties with their length; none of those that a server sends is a variable byte integer."""
    octets = bytearray()
    for kind, value in values.items():
        octets.append(kind)
        match value:
            case str():
                octets += binary(value.encode())
            case bytes():
                octets += binary(value)
            case _:
                octets += value.to_bytes({_Kind.OCTET: 1, _Kind.SHORT: 2}.get(_KINDS[kind], 4), "big")
    return variable(len(octets)) + bytes(octets)
