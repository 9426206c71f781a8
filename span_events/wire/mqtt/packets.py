"""Packets that a client sends: decoded strictly, one by one, and without I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from span_events.wire.mqtt.fields import Fields, Properties, Property
from span_events.wire.mqtt.reasons import PacketRefused, Reason


class Version(IntEnum):
    """Protocol levels (3.1.2.2)."""

    V3_1_1 = 4
    V5 = 5

    @property
    def title(self) -> str:
        """The version as people write it."""
        return "3.1.1" if self is Version.V3_1_1 else "5"


class Kind(IntEnum):
    """Types of control packets (2.1.2)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


@dataclass(frozen=True, slots=True)
class Connect:
    """A client's request to connect."""

    version: Version
    client_id: str
    clean: bool
    """True if the client wants a new session."""
    keep_alive: int
    """Seconds; 0 for none."""
    user: str | None
    password: str | None = field(repr=False)
    has_will: bool
    properties: Properties = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A client's request for the topics of its filters."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """A client's request to end subscriptions."""

    packet_id: int
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Publish:
    """A message of a client; its payload is dropped."""

    topic: str
    qos: int


@dataclass(frozen=True, slots=True)
class PingRequest:
    """A client's sign of life, which expects an answer."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The orderly end of a connection."""

    reason: int = 0
    """Reason code of MQTT 5; 0 is the usual end."""


Packet = Connect | Subscribe | Unsubscribe | Publish | PingRequest | Disconnect

_FLAGS: Final = MappingProxyType(
    {
        Kind.CONNECT: 0,
        Kind.SUBSCRIBE: 2,
        Kind.UNSUBSCRIBE: 2,
        Kind.PINGREQ: 0,
        Kind.DISCONNECT: 0,
    }
)
"""Lower half of the first octet (2.1.3); PUBLISH has flags of its own."""
_NAMES: Final = ("MQTT", "MQIsdp")
"""Names that the protocol has had; the second one until MQTT 3.1."""
_LEVELS: Final = frozenset(int(each) for each in Version)
_LONGEST_HEAD: Final = 5
_WILL: Final = 0x04
_CONNECT: Final = frozenset(
    {
        Property.SESSION_EXPIRY_INTERVAL,
        Property.RECEIVE_MAXIMUM,
        Property.MAXIMUM_PACKET_SIZE,
        Property.TOPIC_ALIAS_MAXIMUM,
        Property.REQUEST_RESPONSE_INFORMATION,
        Property.REQUEST_PROBLEM_INFORMATION,
        Property.AUTHENTICATION_METHOD,
        Property.AUTHENTICATION_DATA,
    }
)
_MESSAGE: Final = frozenset(
    {
        Property.PAYLOAD_FORMAT_INDICATOR,
        Property.MESSAGE_EXPIRY_INTERVAL,
        Property.CONTENT_TYPE,
        Property.RESPONSE_TOPIC,
        Property.CORRELATION_DATA,
    }
)
_SUBSCRIBE: Final = frozenset({Property.SUBSCRIPTION_IDENTIFIER})
_DISCONNECT: Final = frozenset({Property.SESSION_EXPIRY_INTERVAL, Property.REASON_STRING})


class ClientPackets:
    """
    Decodes the octets of one client.

    Args:
        longest: Octets of the longest packet; a longer one is refused by its head.
    """

    __slots__ = ("_longest", "_octets", "version")

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._octets = b""
        self.version: Version | None = None
        """Version of the CONNECT packet, also of one that is refused; None before it."""

    @property
    def undecoded(self) -> bytes:
        """The octets that are not decoded yet, those of a refused packet among them."""
        return self._octets

    @property
    def waiting(self) -> int:
        """Number of octets that are not decoded yet."""
        return len(self._octets)

    def feed(self, octets: bytes) -> None:
        """Append octets of the client."""
        self._octets += octets

    def next(self) -> Packet | None:
        """
        Decode the next packet; None if a part of it is still to come.

        Raises:
            PacketRefused: The packet is not valid; no further one can be decoded.
        """
        octets = self._octets
        if not octets:
            return None
        kind = self._kind(octets[0])
        found = _end(octets)
        if found is None:
            return None
        begin, end = found
        if end > self._longest:
            raise PacketRefused(Reason.PACKET_TOO_LARGE, f"the packet has {end} octets; at most {self._longest}", at=1)
        if len(octets) < end:
            return None
        self._octets = octets[end:]
        return self._packet(kind, octets[0] & 0x0F, Fields(octets[:end], begin))

    def _kind(self, first: int) -> Kind:
        """Check the first octet of a packet."""
        number, flags = first >> 4, first & 0x0F
        if not number:
            raise PacketRefused(Reason.MALFORMED_PACKET, "there is no packet of type 0")
        kind = Kind(number)
        if (kind is Kind.CONNECT) != (self.version is None):
            raise PacketRefused(
                Reason.PROTOCOL_ERROR, "CONNECT must be the first packet, and only that; this is " + kind.name
            )
        if kind is Kind.AUTH:
            raise PacketRefused(Reason.BAD_AUTHENTICATION_METHOD, "AUTH: there is no enhanced authentication here")
        if kind is not Kind.PUBLISH and kind not in _FLAGS:
            raise PacketRefused(Reason.PROTOCOL_ERROR, f"nothing has been sent that {kind.name} could answer")
        if _FLAGS.get(kind, flags) != flags:
            raise PacketRefused(Reason.MALFORMED_PACKET, f"{kind.name} has the flags {flags:04b}")
        return kind

    def _packet(self, kind: Kind, flags: int, fields: Fields) -> Packet:
        packet: Packet
        match kind:
            case Kind.CONNECT:
                self.version = _version(fields)  # known to the answer, whatever the rest is like
                packet = _connect(fields, self.version)
            case Kind.PUBLISH:
                return _publish(fields, flags, is_5=self.version is Version.V5)  # its payload may be anything
            case Kind.SUBSCRIBE | Kind.UNSUBSCRIBE:
                packet = _subscribe(fields, kind, is_5=self.version is Version.V5)
            case Kind.DISCONNECT:
                packet = _disconnect(fields, is_5=self.version is Version.V5)
            case _:
                packet = PingRequest()
        if not fields.is_at_end:
            raise PacketRefused(Reason.MALFORMED_PACKET, f"{kind.name} is longer than its fields", at=fields.at)
        return packet


def _end(octets: bytes) -> tuple[int, int] | None:
    """Return where the fields of the first packet begin and end; None if its head is not complete."""
    length = 0
    for index in range(1, _LONGEST_HEAD):
        if index == len(octets):
            return None
        length |= (octets[index] & 0x7F) << 7 * (index - 1)
        if not octets[index] & 0x80:
            return index + 1, index + 1 + length
    raise PacketRefused(Reason.MALFORMED_PACKET, "the length of the packet has over 4 octets", at=1)


def _version(fields: Fields) -> Version:
    name, level = fields.text(), fields.integer(1)
    if name not in _NAMES:
        raise PacketRefused(Reason.UNSUPPORTED_VERSION, f"the protocol is {name[:20]!r}, not MQTT", at=fields.at)
    if name != "MQTT" or level not in _LEVELS:
        detail = f"{name} of level {level}: MQTT 3.1.1 (level 4) and 5 are served"
        raise PacketRefused(Reason.UNSUPPORTED_VERSION, detail, at=fields.at - 1)
    return Version(level)


def _connect(fields: Fields, version: Version) -> Connect:
    at = fields.at
    flags = fields.integer(1)
    has_will, has_password, has_user = bool(flags & _WILL), bool(flags & 0x40), bool(flags & 0x80)
    will_qos, will_retain = flags >> 3 & 3, flags & 0x20
    if flags & 1 or will_qos > 2 or ((will_qos or will_retain) and not has_will):
        raise PacketRefused(Reason.MALFORMED_PACKET, f"CONNECT has the flags {flags:08b}", at=at)
    if version is Version.V3_1_1 and has_password and not has_user:
        raise PacketRefused(Reason.MALFORMED_PACKET, "CONNECT has a password without a user name", at=at)
    keep_alive = fields.integer(2)
    properties = fields.properties(_CONNECT) if version is Version.V5 else {}
    client_id = fields.text()
    if has_will:
        if version is Version.V5:
            fields.properties(_MESSAGE | {Property.WILL_DELAY_INTERVAL})
        fields.text()
        fields.binary()
    return Connect(
        version,
        client_id,
        clean=bool(flags & 2),
        keep_alive=keep_alive,
        user=fields.text() if has_user else None,
        password=fields.binary().decode(errors="replace") if has_password else None,
        has_will=has_will,
        properties=properties,
    )


def _publish(fields: Fields, flags: int, *, is_5: bool) -> Publish:
    qos = flags >> 1 & 3
    if qos > 2:
        raise PacketRefused(Reason.MALFORMED_PACKET, "PUBLISH has both bits of the QoS")
    topic = fields.text()
    if qos:
        _packet_id(fields)
    if is_5:
        fields.properties(_MESSAGE | {Property.TOPIC_ALIAS})
    return Publish(topic, qos)


def _subscribe(fields: Fields, kind: Kind, *, is_5: bool) -> Subscribe | Unsubscribe:
    packet_id = _packet_id(fields)
    if is_5:
        properties = fields.properties(_SUBSCRIBE if kind is Kind.SUBSCRIBE else frozenset())
        if properties:
            raise PacketRefused(
                Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                "SUBSCRIBE has a subscription identifier: all subscribers of a topic get the same octets here",
            )
    filters: list[str] = []
    while not filters or not fields.is_at_end:
        filters.append(fields.text())
        if kind is Kind.SUBSCRIBE:
            options = fields.integer(1)
            if options & 3 > 2 or options & (0xC0 if is_5 else 0xFC) or (is_5 and options >> 4 & 3 > 2):
                raise PacketRefused(Reason.MALFORMED_PACKET, f"a filter has the options {options:08b}", at=fields.at)
    return (Subscribe if kind is Kind.SUBSCRIBE else Unsubscribe)(packet_id, tuple(filters))


def _packet_id(fields: Fields) -> int:
    packet_id = fields.integer(2)
    if not packet_id:
        raise PacketRefused(Reason.PROTOCOL_ERROR, "the packet identifier is 0", at=fields.at - 2)
    return packet_id


def _disconnect(fields: Fields, *, is_5: bool) -> Disconnect:
    if not is_5 or fields.is_at_end:
        return Disconnect()
    reason = fields.integer(1)
    if not fields.is_at_end:
        fields.properties(_DISCONNECT)
    return Disconnect(reason)
