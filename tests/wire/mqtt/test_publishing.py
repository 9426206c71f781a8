"""The packets of an MQTT client that publishes."""

from __future__ import annotations

import pytest

from span_events.errors import MalformedMessage
from span_events.wire.mqtt import publishing
from span_events.wire.mqtt.packets import Kind


def test_connect_is_that_of_the_standard() -> None:
    """MQTT 3.1.1, 3.1: protocol name, level 4, clean session, user name and password."""
    assert publishing.connect("", "", "ignored") == bytes.fromhex("100c 0004 4d515454 04 02 0000 0000")
    assert publishing.connect("c", "u", "p") == bytes.fromhex("1013 0004 4d515454 04 c2 0000 0001 63 0001 75 0001 70")
    assert publishing.connect("", "u")[9] == 0x82


def test_publish_has_qos_1_and_a_packet_id() -> None:
    assert publishing.publication("a/b", b"hi", 7) == bytes.fromhex("3209 0003 612f62 0007 6869")


@pytest.mark.parametrize(("length", "header"), [(127, "327f"), (128, "328001"), (16_384, "32808001")])
def test_a_length_has_7_bits_an_octet(length: int, header: str) -> None:
    packet = publishing.publication("a", bytes(length - 5), 1)

    assert packet.startswith(bytes.fromhex(header))
    assert len(packet) == length + len(bytes.fromhex(header))


def test_replies_are_read_strictly() -> None:
    assert publishing.reply(bytes.fromhex("20020105")) == (Kind.CONNACK, 5)
    assert publishing.reply(bytes.fromhex("40020102")) == (Kind.PUBACK, 258)
    for wrong in ("41020001", "40030001", "d0000000", "48545450"):
        with pytest.raises(MalformedMessage):
            publishing.reply(bytes.fromhex(wrong))
