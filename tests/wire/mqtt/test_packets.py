"""Packets of clients: what they mean, and why they are refused."""

from __future__ import annotations

import pytest

from span_events.wire.mqtt.fields import Property
from span_events.wire.mqtt.packets import (
    ClientPackets,
    Connect,
    Disconnect,
    Packet,
    PingRequest,
    Publish,
    Subscribe,
    Unsubscribe,
    Version,
)
from span_events.wire.mqtt.reasons import PacketRefused, Reason
from tests.wire.mqtt import samples
from tests.wire.mqtt.samples import packet


def decoded(octets: bytes, *, size: int = 0, longest: int = 1000) -> list[Packet]:
    """Decode packets, in parts of so many octets."""
    packets = ClientPackets(longest)
    found = []
    for begin in range(0, len(octets), size or len(octets)):
        packets.feed(octets[begin : begin + (size or len(octets))])
        while (each := packets.next()) is not None:
            found.append(each)
    return found


def refusal(octets: bytes, **options: int) -> Reason:
    """Return why octets are refused."""
    with pytest.raises(PacketRefused) as caught:
        decoded(octets, **options)
    return caught.value.reason


def test_a_conversation_of_mqtt_3_1_1_is_decoded() -> None:
    assert decoded(b"".join(samples.ALL[4])) == [
        Connect(Version.V3_1_1, "c1", clean=True, keep_alive=60, user="usr", password="pw=", has_will=False),
        Subscribe(7, ("#", "a/b")),
        Unsubscribe(8, ("#",)),
        Publish("a/b", qos=1),
        PingRequest(),
        Disconnect(),
    ]


def test_a_conversation_of_mqtt_5_is_decoded() -> None:
    connect, *others = decoded(b"".join(samples.ALL[5]))

    assert isinstance(connect, Connect)
    assert connect.version is Version.V5
    assert connect.properties == {
        Property.SESSION_EXPIRY_INTERVAL: 10,
        Property.MAXIMUM_PACKET_SIZE: 1024,
        Property.RECEIVE_MAXIMUM: 20,
    }
    assert others == [
        Subscribe(7, ("#", "a/b")),
        Unsubscribe(8, ("#",)),
        Publish("a/b", qos=0),
        PingRequest(),
        Disconnect(reason=4),
    ]


@pytest.mark.parametrize("octets", [samples.WILL_3, samples.WILL_5])
def test_a_will_is_noted(octets: bytes) -> None:
    (connect,) = decoded(octets)

    assert isinstance(connect, Connect)
    assert (connect.has_will, connect.client_id, connect.user) == (True, "c1", None)


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_segmentation_does_not_matter(level: int, size: int) -> None:
    octets = b"".join(samples.ALL[level])

    assert decoded(octets, size=size) == decoded(octets)


def test_a_password_is_in_no_text_of_a_packet() -> None:
    (connect,) = decoded(samples.CONNECT_3)

    assert "pw=" not in repr(connect)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (samples.PINGREQ, Reason.PROTOCOL_ERROR),  # before CONNECT
        (samples.CONNECT_3 * 2, Reason.PROTOCOL_ERROR),
        (b"GET / HTTP/1.1\r\n\r\n", Reason.PROTOCOL_ERROR),
        (bytes.fromhex("16 0301 0200 01"), Reason.MALFORMED_PACKET),  # TLS
        (bytes.fromhex("00 00"), Reason.MALFORMED_PACKET),
        (bytes.fromhex("10 ffffffff 01"), Reason.MALFORMED_PACKET),
        (bytes.fromhex("10 ffff7f"), Reason.PACKET_TOO_LARGE),
        (packet("10", "0006 4d5149736470 03 02 003c 0000"), Reason.UNSUPPORTED_VERSION),
        (packet("10", "0004 4d515454 06 02 003c 0000"), Reason.UNSUPPORTED_VERSION),
        (packet("10", "0004 48545450 04 02 003c 0000"), Reason.UNSUPPORTED_VERSION),
        (packet("10", "0004 4d515454 04 03 003c 0000"), Reason.MALFORMED_PACKET),  # reserved flag
        (packet("10", "0004 4d515454 04 42 003c 0000 0000"), Reason.MALFORMED_PACKET),  # no user
        (packet("10", "0004 4d515454 04 02 003c 0000 00"), Reason.MALFORMED_PACKET),  # one octet more
        (packet("10", "0004 4d515454 04 02 003c 0001 ff"), Reason.MALFORMED_PACKET),  # no UTF-8
        (packet("10", "0004 4d515454 04 02 003c 0001 00"), Reason.MALFORMED_PACKET),  # U+0000
        (packet("10", "0004 4d515454 05 02 003c 02 19 02 0000"), Reason.PROTOCOL_ERROR),  # flag of 2
        (packet("10", "0004 4d515454 05 02 003c 05 27 00000000 0000"), Reason.PROTOCOL_ERROR),
        (packet("10", "0004 4d515454 05 02 003c 04 19 00 19 00 0000"), Reason.PROTOCOL_ERROR),  # twice
        (packet("10", "0004 4d515454 05 02 003c 02 24 01 0000"), Reason.PROTOCOL_ERROR),  # of a CONNACK
        (packet("10", "0004 4d515454 05 02 003c 8000 0000 00"), Reason.MALFORMED_PACKET),  # not shortest
        (samples.CONNECT_3 + packet("80", "0007 0001 23 00"), Reason.MALFORMED_PACKET),  # flags
        (samples.CONNECT_3 + packet("82", "0000 0001 23 00"), Reason.PROTOCOL_ERROR),  # identifier 0
        (samples.CONNECT_3 + packet("82", "0007 0001 23 03"), Reason.MALFORMED_PACKET),  # QoS 3
        (samples.CONNECT_3 + packet("82", "0007 0001 23 04"), Reason.MALFORMED_PACKET),  # an option of 5
        (samples.CONNECT_5 + packet("82", "0007 00 0001 23 30"), Reason.MALFORMED_PACKET),
        (samples.CONNECT_3 + packet("82", "0007"), Reason.MALFORMED_PACKET),  # no filter
        (
            samples.CONNECT_5 + packet("82", "0007 02 0b 01 0001 23 00"),
            Reason.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
        ),
        (samples.CONNECT_3 + packet("36", "0001 61 0001 00 00"), Reason.MALFORMED_PACKET),  # QoS 3
        (samples.CONNECT_3 + bytes.fromhex("40 02 0001"), Reason.PROTOCOL_ERROR),  # PUBACK
        (samples.CONNECT_5 + bytes.fromhex("f0 00"), Reason.BAD_AUTHENTICATION_METHOD),
        (samples.CONNECT_3 + bytes.fromhex("c0 01 00"), Reason.MALFORMED_PACKET),
        (samples.CONNECT_5 + packet("e0", "00 02 01 00"), Reason.PROTOCOL_ERROR),
    ],
)
def test_a_wrong_packet_is_refused_with_its_reason(octets: bytes, reason: Reason) -> None:
    assert refusal(octets) is reason


def test_a_long_packet_is_refused_by_its_head() -> None:
    assert refusal(samples.CONNECT_3 + bytes.fromhex("30 e807"), longest=999) is Reason.PACKET_TOO_LARGE
