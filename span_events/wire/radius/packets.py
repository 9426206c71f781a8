"""
RADIUS requests and their answers (RFC 2865, 2866, 5997), strictly decoded.

pyrad's codec decodes, verifies and signs packets. It is lenient about lengths, so `decode` rejects malformed
packets before pyrad reads them. Attributes are octets by number, without a dictionary; the caller interprets
them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum, auto
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import Final

from pyrad.packet import AcctPacket, AuthPacket, Packet

from span_events.errors import MalformedMessage


class Code(IntEnum):
    """Packet types that this server receives or sends (IANA registry "RADIUS Packet Type Codes")."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    STATUS_SERVER = 12


class Attribute(IntEnum):
    """Attributes that this server reads or writes (IANA registry "RADIUS Attribute Types")."""

    USER_NAME = 1
    NAS_IP_ADDRESS = 4
    FRAMED_IP_ADDRESS = 8
    FRAMED_IP_NETMASK = 9
    REPLY_MESSAGE = 18
    CLASS = 25
    VENDOR_SPECIFIC = 26
    CALLED_STATION_ID = 30
    CALLING_STATION_ID = 31
    NAS_IDENTIFIER = 32
    PROXY_STATE = 33
    ACCT_STATUS_TYPE = 40
    ACCT_DELAY_TIME = 41
    ACCT_SESSION_ID = 44
    ACCT_SESSION_TIME = 46
    ACCT_TERMINATE_CAUSE = 49
    EVENT_TIMESTAMP = 55
    MESSAGE_AUTHENTICATOR = 80
    ACCT_INTERIM_INTERVAL = 85
    NAS_IPV6_ADDRESS = 95
    FRAMED_IPV6_PREFIX = 97


class StatusType(IntEnum):
    """Acct-Status-Type of an Accounting-Request (RFC 2866 §5.1)."""

    START = 1
    STOP = 2
    INTERIM_UPDATE = 3
    ACCOUNTING_ON = 7
    ACCOUNTING_OFF = 8


class Verdict(Enum):
    """Result of the check that the sender of a request has the secret."""

    PROVEN = auto()
    UNPROVEN = auto()
    """The request has no Message-Authenticator and no other proof; any host can forge it."""
    BAD_AUTHENTICATOR = auto()
    BAD_MESSAGE_AUTHENTICATOR = auto()


MAX_LENGTH: Final = 4096
"""Upper bound of a packet in octets (RFC 2865 §3)."""
MAX_ATTRIBUTES: Final = 200
"""Upper bound of attributes in a packet. The protocol has none, but 2,000 empty ones would cost milliseconds."""
MAX_PROXY_STATE: Final = 2048
"""Upper bound of Proxy-State in octets: the answer repeats it and must stay below `MAX_LENGTH`."""
TERMINATE_CAUSES: Final = (
    *("", "User-Request", "Lost-Carrier", "Lost-Service", "Idle-Timeout", "Session-Timeout", "Admin-Reset"),
    *("Admin-Reboot", "Port-Error", "NAS-Error", "NAS-Request", "NAS-Reboot", "Port-Unneeded", "Port-Preempted"),
    *("Port-Suspended", "Service-Unavailable", "Callback", "User-Error", "Host-Request"),
)
"""Names of Acct-Terminate-Cause, from 1 on (RFC 2866 §5.10)."""

_HEADER: Final = struct.Struct("!BBH16s")
"""Code, Identifier, Length, Authenticator (RFC 2865 §3)."""
_NUMBER: Final = struct.Struct("!I")
_VENDOR: Final = struct.Struct("!IBB")
"""Vendor, vendor type, vendor length (RFC 2865 §5.26)."""
_MICROSOFT: Final = 311
_DNS_SERVERS: Final = (28, 29)
"""MS-Primary-DNS-Server, MS-Secondary-DNS-Server (RFC 2548 §2.7)."""
_3GPP: Final = 10415
_IPV6_DNS_SERVERS: Final = 17
"""3GPP-IPv6-DNS-Servers (3GPP TS 29.061 §16.4.7)."""
_HOST: Final = bytes((255, 255, 255, 255))
"""The netmask of one address."""
_NAS_CHOOSES: Final = bytes((255, 255, 255, 254))
"""The address that lets the NAS select one (RFC 2865 §5.8)."""

_REMEMBERED: Final = 1024
"""Number of addresses in the cache of their texts; a NAS repeats the same ones."""

Attributes = Sequence[tuple[int, bytes]]


@dataclass(frozen=True, slots=True)
class RadiusRequest:
    """One request. Attributes are read by number; the first of several with the same number counts."""

    code: int
    """A `Code`, or an unknown number."""
    identifier: int
    authenticator: bytes
    packet: Packet = field(repr=False)
    """pyrad's packet, which holds the secret and perhaps a password."""

    def value(self, number: int) -> bytes | None:
        """Return the octets of an attribute."""
        found = dict.get(self.packet, number)  # avoids pyrad's look-up by name
        return found[0] if found else None

    def values(self, number: int) -> Sequence[bytes]:
        """Return the octets of all attributes with a number, in order."""
        return dict.get(self.packet, number, ())

    def text(self, number: int) -> str:
        """
        Return the text of an attribute, empty without one.

        Octets that are not printable UTF-8 are returned in hexadecimal, so that different values stay different.
        """
        value = self.value(number)
        if value is None:
            return ""
        try:
            text = value.rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return value.hex()
        return text if text.isprintable() else value.hex()

    def number(self, number: int) -> int | None:
        """Return the number of an attribute; None if it is missing or has not four octets."""
        value = self.value(number)
        return _NUMBER.unpack(value)[0] if value is not None and len(value) == 4 else None

    def address(self, number: int) -> str:
        """Return the address of an attribute as text; empty if it is missing or no address."""
        value = self.value(number)
        return _address(value) if value is not None and len(value) in (4, 16) else ""

    def framed_address(self) -> str:
        """Return Framed-IP-Address as text; empty if missing, or if it lets NAS or user choose (RFC 2865 §5.8)."""
        value = self.value(Attribute.FRAMED_IP_ADDRESS)
        if value is None or len(value) != 4 or value >= _NAS_CHOOSES or not any(value):
            return ""
        return ".".join(map(str, value))

    def framed_prefix(self) -> str:
        """Return Framed-IPv6-Prefix as text (RFC 3162 §2.3); empty if missing or malformed."""
        value = self.value(Attribute.FRAMED_IPV6_PREFIX)
        if value is None or not 2 <= len(value) <= 18 or not value[1] <= 128 or (value[1] + 7) // 8 > len(value) - 2:
            return ""
        return str(IPv6Network((value[2:].ljust(16, b"\0"), value[1]), strict=False))


def decode(datagram: bytes, secret: bytes) -> RadiusRequest:
    """
    Decode one datagram; `verify` checks its sender. Octets beyond Length are padding (RFC 2865 §3).

    Args:
        secret: Shared secret, at least 1 octet; used by `verify` and by the answer.

    Raises:
        MalformedMessage: The datagram breaks RFC 2865 or RFC 3579; ``at`` is the octet where parsing stopped.
    """
    if len(datagram) < _HEADER.size:
        raise MalformedMessage(f"{len(datagram)} octets, a RADIUS header has {_HEADER.size}", at=len(datagram))
    code, identifier, length, authenticator = _HEADER.unpack_from(datagram)
    if not _HEADER.size <= length <= MAX_LENGTH:
        raise MalformedMessage(f"Length is {length}, wanted {_HEADER.size} to {MAX_LENGTH}", at=2)
    if length > len(datagram):
        raise MalformedMessage(f"Length is {length}, the datagram has {len(datagram)} octets", at=2)
    _check_attributes(datagram, length)
    kind = AcctPacket if code == Code.ACCOUNTING_REQUEST else AuthPacket
    return RadiusRequest(code, identifier, authenticator, kind(secret=secret, packet=datagram))


def verify(request: RadiusRequest) -> Verdict:
    """Check that the sender has the secret (RFC 2865 §3, 2866 §3, 3579 §3.2, 5997 §3)."""
    packet = request.packet
    proven = request.code == Code.ACCOUNTING_REQUEST
    if proven and not packet.VerifyAcctRequest():
        return Verdict.BAD_AUTHENTICATOR
    if not packet.message_authenticator:
        return Verdict.PROVEN if proven else Verdict.UNPROVEN
    return Verdict.PROVEN if packet.verify_message_authenticator() else Verdict.BAD_MESSAGE_AUTHENTICATOR


def accept(request: RadiusRequest, *, address: str, prefix: str, class_: bytes, settings: Attributes = ()) -> bytes:
    """
    Encode the Access-Accept to an Access-Request.

    Args:
        address: IPv4 address of the device; without address and prefix, the NAS chooses an address.
        prefix: IPv6 prefix of the device (``2001:db8:1:2::/64``).
        class_: Class attribute; the NAS repeats it in all accounting of the session (RFC 2865 §5.25). Empty for none.
        settings: Attributes of every Access-Accept, see `settings_of`.
    """
    attributes: list[tuple[int, bytes]] = []
    if address:
        attributes.append((Attribute.FRAMED_IP_ADDRESS, IPv4Address(address).packed))
        attributes.append((Attribute.FRAMED_IP_NETMASK, _HOST))
    elif not prefix:
        attributes.append((Attribute.FRAMED_IP_ADDRESS, _NAS_CHOOSES))
    if prefix:
        network = IPv6Network(prefix)
        octets = network.network_address.packed[: (network.prefixlen + 7) // 8]
        attributes.append((Attribute.FRAMED_IPV6_PREFIX, bytes((0, network.prefixlen)) + octets))
    if class_:
        attributes.append((Attribute.CLASS, class_))
    return _answer(request, Code.ACCESS_ACCEPT, (*attributes, *settings))


def settings_of(*, dns: Iterable[IPv4Address | IPv6Address], interim_interval: int) -> Attributes:
    """
    Encode the attributes that are the same in every Access-Accept.

    Args:
        dns: Servers, best first; at most two of IPv4 and 15 of IPv6 fit.
        interim_interval: Requested seconds between Interim-Updates; 0 requests none.
    """
    servers = tuple(dns)
    attributes: list[tuple[int, bytes]] = []
    v4 = [each.packed for each in servers if isinstance(each, IPv4Address)]
    attributes += [_vendor_specific(_MICROSOFT, kind, each) for kind, each in zip(_DNS_SERVERS, v4, strict=False)]
    v6 = b"".join(each.packed for each in servers if isinstance(each, IPv6Address))
    if v6:
        attributes.append(_vendor_specific(_3GPP, _IPV6_DNS_SERVERS, v6))
    if interim_interval:
        attributes.append((Attribute.ACCT_INTERIM_INTERVAL, _NUMBER.pack(interim_interval)))
    return attributes


def reject(request: RadiusRequest, message: str) -> bytes:
    """Encode the Access-Reject to an Access-Request, with a message of at most 253 octets."""
    return _answer(request, Code.ACCESS_REJECT, ((Attribute.REPLY_MESSAGE, message.encode()),))


def accounting_response(request: RadiusRequest) -> bytes:
    """Encode the Accounting-Response to an Accounting-Request."""
    return _answer(request, Code.ACCOUNTING_RESPONSE, ())


def status_answer(request: RadiusRequest, *, accounting: bool) -> bytes:
    """Encode the answer to a Status-Server, which depends on the port that received it (RFC 5997 §4.2)."""
    return _answer(request, Code.ACCOUNTING_RESPONSE if accounting else Code.ACCESS_ACCEPT, ())


def _answer(request: RadiusRequest, code: Code, attributes: Iterable[tuple[int, bytes]]) -> bytes:
    """
    Encode and sign an answer.

    pyrad copies Proxy-State (RFC 2865 §5.33) and adds a Message-Authenticator as the first attribute, except in the
    answer to an Accounting-Request. The first place prevents a forged Access-Accept (CVE-2024-3596).
    """
    answer = request.packet.CreateReply()
    answer.code = int(code)
    for number, value in attributes:
        answer.setdefault(int(number), []).append(value)
    octets: bytes = answer.ReplyPacket()
    return octets


def _check_attributes(datagram: bytes, end: int) -> None:
    """Reject wrong attribute lengths, and more attributes or Proxy-State than allowed."""
    at = _HEADER.size
    count = authenticators = proxy_state = 0
    while at < end:
        if at + 1 == end:
            raise MalformedMessage("an attribute of 1 octet, wanted at least 2", at=at)
        kind, length = datagram[at], datagram[at + 1]
        if length < 2:
            raise MalformedMessage(f"attribute {kind} has length {length}, wanted at least 2", at=at)
        if at + length > end:
            raise MalformedMessage(f"attribute {kind} has length {length}, {end - at} octets are left", at=at)
        if kind == 80:
            authenticators += 1
            if length != 18 or authenticators > 1:
                what = f"Message-Authenticator number {authenticators} has {length - 2} octets, wanted one of 16"
                raise MalformedMessage(what, at=at)
        elif kind == 33:
            proxy_state += length
        at += length
        count += 1
    if count > MAX_ATTRIBUTES:
        raise MalformedMessage(f"{count} attributes, wanted at most {MAX_ATTRIBUTES}", at=end)
    if proxy_state > MAX_PROXY_STATE:
        raise MalformedMessage(f"{proxy_state} octets of Proxy-State, wanted at most {MAX_PROXY_STATE}", at=end)


@lru_cache(_REMEMBERED)
def _address(octets: bytes) -> str:
    return str(IPv4Address(octets) if len(octets) == 4 else IPv6Address(octets))


def _vendor_specific(vendor: int, kind: int, value: bytes) -> tuple[int, bytes]:
    return Attribute.VENDOR_SPECIFIC, _VENDOR.pack(vendor, kind, len(value) + 2) + value
