"""Packets of clients, written octet by octet from the standards."""

from __future__ import annotations

from typing import Final


def packet(first: str, fields: str) -> bytes:
    """Write a packet of less than 128 octets: first octet, length, fields."""
    body = bytes.fromhex(fields)
    return bytes.fromhex(first) + bytes((len(body),)) + body


CONNECT_3: Final = packet("10", "0004 4d515454 04 c2 003c 0002 6331 0003 757372 0003 70773d")
"""3.1.1, clean, keep alive 60 s, client identifier c1, user usr, password pw=."""
CONNECT_5: Final = packet(
    "10",
    "0004 4d515454 05 c2 001e"
    "0d 11 0000000a 27 00000400 21 0014"  # session expiry 10 s, maximum packet 1024, receive maximum 20
    "0002 6331 0003 757372 0003 70773d",
)
WILL_3: Final = packet("10", "0004 4d515454 04 06 0000 0002 6331 0001 74 0002 6869")
WILL_5: Final = packet("10", "0004 4d515454 05 06 0000 00 0002 6331 05 18 00000001 0001 74 0002 6869")
SUBSCRIBE_3: Final = packet("82", "0007 0001 23 01 0003 612f62 00")
"""Identifier 7, filters # with QoS 1 and a/b with QoS 0."""
SUBSCRIBE_5: Final = packet("82", "0007 07 26 0001 61 0001 62 0001 23 2d 0003 612f62 00")
"""With a user property, and options of #: QoS 1, no local, retain as published, retain handling 2."""
UNSUBSCRIBE_3: Final = packet("a2", "0008 0001 23")
UNSUBSCRIBE_5: Final = packet("a2", "0008 00 0001 23")
PUBLISH_3: Final = packet("32", "0003 612f62 0009 6869")
PUBLISH_5: Final = packet("30", "0003 612f62 02 01 01 6869")
PINGREQ: Final = bytes.fromhex("c0 00")
DISCONNECT_3: Final = bytes.fromhex("e0 00")
DISCONNECT_5: Final = packet("e0", "04 05 11 00000000")

ALL: Final = {
    4: (CONNECT_3, SUBSCRIBE_3, UNSUBSCRIBE_3, PUBLISH_3, PINGREQ, DISCONNECT_3),
    5: (CONNECT_5, SUBSCRIBE_5, UNSUBSCRIBE_5, PUBLISH_5, PINGREQ, DISCONNECT_5),
}
"""Conversations by protocol level."""
