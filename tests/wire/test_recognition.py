"""Recognition of protocols by their first octets."""

from __future__ import annotations

import random

import pytest

from span_events.wire.recognition import FIRST_OCTETS, ProtocolName, recognise

CLIENT_HELLO = bytes.fromhex("16030100a5010000a10303")
DTLS_HELLO = bytes.fromhex("16feff0000000000000000003a01000032")

KNOWN = [
    (bytes.fromhex("40020001b178ff6869"), ProtocolName.COAP, "CON POST /x"),
    (bytes.fromhex("51010001a1b46461746101") + b"a", ProtocolName.COAP, "NON GET /data/a"),
    (DTLS_HELLO, ProtocolName.DTLS, "ClientHello"),
    (bytes.fromhex("17fefd0001000000000001000a") + bytes(4), ProtocolName.DTLS, "ApplicationData"),
    (CLIENT_HELLO, ProtocolName.TLS, "ClientHello"),
    (b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n", ProtocolName.HTTP, "GET /data"),
    (b"POST / HTTP/1.0\r\n", ProtocolName.HTTP, "POST /"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ProtocolName.HTTP, "PRI *"),
    (bytes.fromhex("101000044d5154540402003c0004") + b"demo", ProtocolName.MQTT, "CONNECT"),
    (bytes.fromhex("10140006") + b"MQIsdp" + bytes.fromhex("0302003c0004") + b"demo", ProtocolName.MQTT, "CONNECT"),
    (bytes.fromhex("0a040401003c") + b"demo", ProtocolName.MQTT_SN, "CONNECT"),
]
UNKNOWN = [
    b"",
    b"@",
    b'{"temperature": 21.5}',
    b"A",
    b"GET well soon",
    b"POST",
    b"Hello, world",
    b"PING 1",
    b"CONNECTED\r\n",
    bytes.fromhex("40010001"),  # a CoAP GET without a path has the length of a float
    bytes.fromhex("41020001a1"),
    bytes.fromhex("4002000112345678"),
    bytes.fromhex("1600"),
    bytes.fromhex("16fefd"),
    bytes.fromhex("140401000064"),
]


@pytest.mark.parametrize(("octets", "protocol", "words"), KNOWN)
def test_protocols_are_recognised(octets: bytes, protocol: ProtocolName, words: str) -> None:
    """With the words of the protocol for what was sent."""
    assert recognise(octets) == (protocol, words)
    assert octets[:1] in FIRST_OCTETS


@pytest.mark.parametrize("octets", UNKNOWN)
def test_payloads_of_sensors_are_no_protocol(octets: bytes) -> None:
    """A wrong mark would keep a downstream message from its device."""
    assert recognise(octets) is None


def test_random_octets_are_hardly_ever_a_protocol() -> None:
    """At most one of 50,000 payloads of 4 to 40 octets."""
    source = random.Random(7)
    payloads = (source.randbytes(source.randint(4, 40)) for _ in range(200_000))

    assert sum(recognise(each) is not None for each in payloads) <= 4


@pytest.mark.parametrize("octets", [each for each, _, _ in KNOWN])
def test_truncated_octets_raise_nothing(octets: bytes) -> None:
    """A datagram may end anywhere."""
    for length in range(len(octets)):
        found = recognise(octets[:length])
        assert found is None or found.words
