"""Packets of the server, as clients expect them octet by octet."""

from __future__ import annotations

import pytest

from span_events.wire.mqtt.fields import Property
from span_events.wire.mqtt.filters import levels_of
from span_events.wire.mqtt.packets import Version
from span_events.wire.mqtt.reasons import PacketRefused, Reason
from span_events.wire.mqtt.replies import connack, disconnect, line, publish_3, publish_5, suback, unsuback

V3, V5 = Version.V3_1_1, Version.V5


@pytest.mark.parametrize(
    ("packet", "octets"),
    [
        (connack(V3, Reason.SUCCESS, {}), "20 02 00 00"),
        (connack(V3, Reason.BAD_USER_NAME_OR_PASSWORD, {}), "20 02 00 04"),
        (connack(V3, Reason.MALFORMED_PACKET, {}), ""),
        (connack(V5, Reason.SUCCESS, {Property.MAXIMUM_QOS: 0}), "20 05 00 00 02 24 00"),
        (connack(V5, Reason.SERVER_BUSY, {Property.REASON_STRING: "a"}), "20 07 00 89 04 1f 0001 61"),
        (connack(V5, Reason.SUCCESS, {Property.MAXIMUM_PACKET_SIZE: 258}), "20 08 00 00 05 27 00000102"),
        (suback(V3, 7, [Reason.SUCCESS, Reason.TOPIC_FILTER_INVALID]), "90 04 0007 00 80"),
        (suback(V5, 7, [Reason.SUCCESS, Reason.TOPIC_FILTER_INVALID], "a"), "90 09 0007 04 1f 0001 61 00 8f"),
        (unsuback(V3, 7, [Reason.SUCCESS]), "b0 02 0007"),
        (unsuback(V5, 7, [Reason.NO_SUBSCRIPTION_EXISTED]), "b0 04 0007 00 11"),
        (disconnect(V3, Reason.SERVER_SHUTTING_DOWN), ""),
        (disconnect(V5, Reason.SERVER_SHUTTING_DOWN), "e0 02 8b 00"),
        (publish_3(line(b"a/b", b"hi")), "30 07 0003 612f62 6869"),
        (publish_5(line(b"a/b", b"hi")), "30 08 0003 612f62 00 6869"),
    ],
)
def test_a_packet_has_the_octets_of_the_standard(packet: bytes, octets: str) -> None:
    assert packet == bytes.fromhex(octets)


@pytest.mark.parametrize(
    ("size", "head"), [(122, "30 7f"), (123, "30 80 01"), (16_378, "30 ff 7f"), (16_379, "30 80 80 01")]
)
def test_the_length_of_a_publication_has_its_shortest_form(size: int, head: str) -> None:
    packet = publish_3(line(b"a/b", bytes(size)))

    assert packet.startswith(bytes.fromhex(head) + b"\0\3a/b")


def test_a_long_reason_is_cut_between_characters() -> None:
    packet = disconnect(V5, Reason.QUOTA_EXCEEDED, "ä" * 600)

    assert packet.endswith("ä".encode())
    assert len(packet) < 1_020


@pytest.mark.parametrize("text", ["#", "+", "a/#", "+/b/+", "/", "a//#", "$SYS/#"])
def test_a_valid_filter_is_split_into_levels(text: str) -> None:
    assert "/".join(levels_of(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.TOPIC_FILTER_INVALID),
        ("a" * 501, Reason.TOPIC_FILTER_INVALID),
        ("a#", Reason.TOPIC_FILTER_INVALID),
        ("#/a", Reason.TOPIC_FILTER_INVALID),
        ("a+/b", Reason.TOPIC_FILTER_INVALID),
        ("$share/g/#", Reason.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED),
    ],
)
def test_a_wrong_filter_is_refused(text: str, reason: Reason) -> None:
    with pytest.raises(PacketRefused) as caught:
        levels_of(text)

    assert caught.value.reason is reason
