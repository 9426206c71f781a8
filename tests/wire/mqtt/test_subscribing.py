"""The packets of an MQTT client that subscribes."""

from __future__ import annotations

import pytest

from span_events.errors import MalformedMessage
from span_events.wire.mqtt import subscribing
from span_events.wire.mqtt.publishing import connect, publication
from span_events.wire.mqtt.subscribing import Accepted, BrokerPackets, Packet, Pong, Publication, Subscribed

OCTETS = bytes.fromhex("20020100 9003000180 3005 0001 61 6869 3207 0001 61 0007 6869 d000")
PACKETS = [Accepted(0, True), Subscribed(b"\x80"), Publication("a", b"hi", 0), Publication("a", b"hi", 7), Pong()]


def decode(octets: bytes, *, size: int = 1_000, longest: int = 100) -> list[Packet]:
    """Decode octets that come in pieces."""
    packets, found = BrokerPackets(longest), list[Packet]()
    for begin in range(0, len(octets), size):
        found += packets.feed(octets[begin : begin + size])
        assert packets.waiting <= longest + 7
    return found


def test_packets_of_the_client_are_those_of_the_standard() -> None:
    assert connect("c", keep_alive=30, clean=False) == bytes.fromhex("100d 0004 4d515454 04 00 001e 0001 63")
    assert subscribing.subscribe(1, ["a/#", "b"], 1) == bytes.fromhex("820c 0001 0003 612f23 01 0001 62 01")
    assert subscribing.acknowledgement(258) == bytes.fromhex("40020102")
    assert bytes.fromhex("c000") == subscribing.PING_REQUEST


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
def test_packets_of_the_broker_are_read_in_any_pieces(size: int) -> None:
    assert decode(OCTETS, size=size) == PACKETS


@pytest.mark.parametrize("size", [1, 9, 64, 10_000])
def test_a_publication_that_is_too_long_is_passed_over(size: int) -> None:
    """Its topic and packet id remain, for the log and for the acknowledgement; the next packet follows."""
    long = publication("a/b", bytes(5_000), 7)

    assert decode(long + OCTETS, size=size) == [Publication("a/b", None, 7), *PACKETS]


@pytest.mark.parametrize(
    "octets",
    [
        "48545450 2f312e31",  # HTTP
        "30ffffffffff",  # a length of more than 4 octets
        "3003 0005 61",  # a topic longer than its packet
        "30ff01 ffff",  # the same in a packet that is too long, as soon as its topic is there
        "3003 0001 ff",  # no UTF-8
        "3405 0001 61 0007",  # QoS 2 was not asked for
        "2003 000000",
        "90020001",
        "d00100",
        "1000",
        "90ff7f",  # too long, and no publication
    ],
)
def test_other_octets_are_refused(octets: str) -> None:
    with pytest.raises(MalformedMessage):
        BrokerPackets(100).feed(bytes.fromhex(octets) + bytes(70_000))
