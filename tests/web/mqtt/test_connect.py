"""Who may connect, and why others may not."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from span_events.config import FanoutConfig
from span_events.ids import render
from tests.web.mqtt.bench import MqttBench
from tests.web.mqtt.client import connect_packet, packet, text

NOBODY = "0" * 64


async def test_mqtt_5_learns_what_this_server_leaves_out(site: MqttBench) -> None:
    async with site.client() as subscriber:
        properties = bytes.fromhex("11 0000003c")
        subscriber.send(connect_packet("*", site.token, level=5, client_id="", properties=properties))
        answer = await subscriber.receive()

    assert answer.body[:2] == b"\0\0"
    assert answer.body[3:].startswith(bytes.fromhex("24 00 25 00 27 00002000 29 00 2a 00 11 00000000 12"))
    assert b"auto-" in answer.body


async def test_mqtt_3_1_1_needs_no_client_identifier(site: MqttBench) -> None:
    async with site.client(4) as subscriber:
        assert await subscriber.connect("*", site.token, client_id="") == 0


@pytest.mark.parametrize(
    ("options", "reason", "code"),
    [
        ({"password": NOBODY}, 0x86, 4),
        ({"password": None}, 0x86, 4),
        ({"user": None, "password": None}, 0x86, 4),
        ({"user": "17"}, 0x86, 4),
        ({"user": "what?"}, 0x86, 4),
        ({"user": "{other}", "password": "{reader}"}, 0x87, 5),
        ({"flags": 6, "will": text("t") + text("hi")}, 0x87, 5),
        ({"client_id": "", "flags": 0}, 0, 2),
    ],
)
async def test_a_client_that_may_not_connect_learns_why(
    site: MqttBench, options: dict[str, Any], reason: int, code: int
) -> None:
    collection, other = await site.fleet.collection(), await site.fleet.collection()
    _, reader = await site.tokens.create(resource=f"/collections/{render(collection.id)}", write=False)
    values = {"other": render(other.id), "reader": reader}
    wish = {"user": "*", "password": site.token} | {
        key: value.format(**values) if isinstance(value, str) else value for key, value in options.items()
    }
    async with site.client(4) as old, site.client(5) as new:
        assert await old.connect(**wish) == code
        assert await old.end() is None
        if "will" in wish:
            wish["will"] = b"\0" + wish["will"]
        assert await new.connect(**wish) == reason


async def test_a_version_that_is_not_served_gets_the_return_code_of_3_1_1(site: MqttBench) -> None:
    async with site.client() as subscriber:
        subscriber.send(packet(0x10, text("MQIsdp") + bytes.fromhex("03 02 003c") + text("c")))

        assert (await subscriber.receive()).body == b"\0\1"
        assert await subscriber.end() is None


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "this is HTTP (GET /), this port serves MQTT"),
        (
            bytes.fromhex("16030102000100"),
            "this is TLS (ClientHello), this port is without TLS: set mqtt.tls, or connect without",
        ),
        (b"\xc0\0", "CONNECT must be the first packet, and only that; this is PINGREQ"),
        (b"\0", "there is no packet of type 0 (octet 0)"),
    ],
)
async def test_a_client_without_a_connect_packet_is_disconnected(site: MqttBench, octets: bytes, why: str) -> None:
    with capture_logs() as lines:
        async with site.client() as stranger:
            stranger.send(octets)

            assert await stranger.end() is None
    assert [each["why"] for each in lines if each["event"] == "mqtt_refused"] == [why]


async def test_mqtt_5_learns_that_its_connect_packet_is_wrong(site: MqttBench) -> None:
    """MQTT 3.1.1 has no return code for that."""
    async with site.client() as new, site.client() as old:
        new.send(connect_packet("*", site.token, level=5, properties=bytes.fromhex("21 0000")))
        old.send(connect_packet("*", site.token, level=4, flags=3))
        answer = await new.receive()

        assert answer.body[:2] == b"\0\x82"
        assert b"the property RECEIVE_MAXIMUM is 0" in answer.body
        assert await new.end() is None
        assert await old.end() is None


async def test_reasons_for_people_are_left_out_where_the_client_takes_none(site: MqttBench) -> None:
    """Request Problem Information concerns the SUBACK, Maximum Packet Size every packet (MQTT 5, 3.1.2.11)."""
    async with site.client() as silent, site.client() as small, site.client() as refused, site.client() as ample:
        await silent.connect("*", site.token, client_id="silent", properties=bytes.fromhex("17 00"))
        await small.connect("*", site.token, client_id="small", properties=bytes.fromhex("27 00000014"))
        await ample.connect("*", site.token, client_id="ample", properties=bytes.fromhex("27 00001000"))
        refused.send(connect_packet("*", NOBODY, level=5, properties=bytes.fromhex("27 00000014")))
        lengths = []
        for each in (silent, small, ample):
            each.send(packet(0x82, bytes.fromhex("0001 00") + text("a/b/c") + b"\0"))
            lengths.append(len((await each.receive()).body))
        small.send(b"\x30\3\0\0\0")

        assert lengths[:2] == [4, 4]
        assert lengths[2] > 100
        assert (await refused.receive()).body == bytes.fromhex("00 86 00")
        assert (await small.receive()).body == bytes.fromhex("87 00")


async def test_packets_may_follow_connect_at_once(site: MqttBench) -> None:
    """The token is still being checked when they come."""
    async with site.client() as subscriber:
        subscriber.send(connect_packet("*", site.token, level=5) + b"\xc0\0" * 2)

        assert [(await subscriber.receive()).kind for _ in range(3)] == [0x20, 0xD0, 0xD0]


async def test_a_second_client_of_the_same_name_and_token_ends_the_first(site: MqttBench) -> None:
    _, other = await site.tokens.create(resource="/", write=False)
    async with site.client() as first, site.client() as stranger, site.client() as second:
        await first.connect("*", site.token)
        await stranger.connect("*", other)
        await second.connect("*", site.token)

        assert await first.end() == 0x8E
        await second.ping()
        await stranger.ping()


async def test_a_full_hub_refuses_a_client(site: MqttBench) -> None:
    site.hub.buffered = FanoutConfig().total_buffer
    try:
        async with site.client(4) as old, site.client(5) as new:
            assert await old.connect("*", site.token) == 3
            assert await new.connect("*", site.token) == 0x89
    finally:
        site.hub.buffered = 0
