"""How sessions end: by the client, by time limits, by budgets, by the server."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

import pytest

from span_events.events.activity import Origin
from span_events.events.catalogue import UpstreamMessage
from span_events.events.message import Transport
from tests.bench.waiting import PATIENCE, until
from tests.web.mqtt.bench import MqttBench, mqtt_bench
from tests.web.mqtt.client import Client, packet, text


@pytest.mark.parametrize("level", [4, 5])
async def test_a_client_leaves_in_order(site: MqttBench, level: int) -> None:
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        await subscriber.subscribe("#")
        subscriber.send(b"\xe0\0")

        assert await subscriber.end() is None
    await until(lambda: site.metric("mqtt_connections") == 0)
    assert site.hub.subscribers == 0
    assert site.metric("mqtt_ended") == {"client": 1}


@pytest.mark.parametrize(("level", "reason"), [(4, None), (5, 0x8D)])
async def test_a_client_that_is_silent_is_disconnected(site: MqttBench, level: int, reason: int | None) -> None:
    """After one and a half times its keep alive interval."""
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token, keep_alive=10)
        await site.fleet.clock.advance(14.9)
        await subscriber.ping()
        await site.fleet.clock.advance(14.9)
        await subscriber.ping()
        await site.fleet.clock.advance(16)

        assert await subscriber.end() == reason


async def test_a_client_without_keep_alive_may_be_silent(site: MqttBench) -> None:
    async with site.client() as subscriber:
        await subscriber.connect("*", site.token, keep_alive=0)
        site.fleet.clock.shift(100_000)
        site.service.sweep(site.fleet.clock.monotonic())
        await subscriber.ping()


async def test_a_client_that_sends_no_connect_is_disconnected(site: MqttBench) -> None:
    async with site.client() as stranger:
        await until(lambda: site.metric("mqtt_connections") == 1)
        await site.fleet.clock.advance(11)

        assert await stranger.end() is None


@pytest.mark.parametrize(("level", "reason"), [(4, None), (5, 0x87)])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_client_that_publishes_is_disconnected(
    site: MqttBench, level: int, reason: int | None, qos: int
) -> None:
    async with site.client(level) as publisher, site.client(level) as other:
        await publisher.connect("*", site.token)
        await other.connect("*", site.token, client_id="other")
        await other.subscribe("#")
        body = text("17/18") + (b"\0\1" if qos else b"") + (b"\0" if level == 5 else b"")
        publisher.send(packet(0x30 | qos << 1, body + b"hello"))

        assert await publisher.end() == reason
        await other.ping()


async def test_a_client_that_sends_too_many_packets_is_disconnected(site: MqttBench) -> None:
    """One more than its allowance, or far too many."""

    async def flood(level: int, count: int) -> int | None:
        async with site.client(level) as subscriber:
            await subscriber.connect("*", site.token, client_id=f"{level} {count}")
            subscriber.send(b"\xc0\0" * count)
            answers = 0
            with suppress(asyncio.IncompleteReadError):
                while (answer := await subscriber.receive()).kind != 0xE0:
                    answers += 1
                    assert answers <= 40
                return answer.body[0]
            return None

    async with asyncio.timeout(PATIENCE):
        ends = await asyncio.gather(*(flood(level, count) for level in (4, 5) for count in (41, 1_000)))

    assert ends == [None, None, 0x96, 0x96]
    assert site.metric("mqtt_flooded") == 4


async def test_a_packet_that_is_too_long_ends_the_session(site: MqttBench) -> None:
    async with site.client() as subscriber:
        await subscriber.connect("*", site.token)
        subscriber.send(bytes.fromhex("82 8080 04"))

        assert await subscriber.end() == 0x95


@pytest.mark.parametrize("filters", [[], ["#", "activity/#"]])
@pytest.mark.parametrize(("level", "reason"), [(4, None), (5, 0x87)])
async def test_a_deleted_token_ends_its_sessions(
    site: MqttBench, level: int, reason: int | None, filters: list[str]
) -> None:
    token, secret = await site.tokens.create(resource="/", write=False)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", secret)
        if filters:
            await subscriber.subscribe(*filters)
        await site.tokens.delete(token.id)
        site.service.revoke(await site.tokens.refresh(), "the token was revoked")

        assert await subscriber.end() == reason


@pytest.mark.parametrize("filters", [[], ["#", "activity/#"]])
async def test_the_end_of_the_server_is_announced(tmp_path: Path, filters: list[str]) -> None:
    async with mqtt_bench(tmp_path) as site:
        old, new = site.client(4), site.client(5)
        await old.__aenter__()
        await new.__aenter__()
        await old.connect("*", site.token, client_id="old")
        await new.connect("*", site.token)
        if filters:
            await new.subscribe(*filters)
        ends = asyncio.gather(_left_by(new), _left_by(old))
    async with asyncio.timeout(PATIENCE):
        assert tuple(await ends) == (0x8B, None)


async def _left_by(client: Client) -> int | None:
    """Leave when the server has ended the session; return its reason."""
    reason = await client.end()
    client.writer.transport.abort()
    return reason


async def test_one_connection_too_many_displaces_a_stranger_first_and_no_subscriber(tmp_path: Path) -> None:
    async with mqtt_bench(tmp_path, mqtt={"connections": 2}) as site, site.client() as subscriber:
        await subscriber.connect("*", site.token, client_id="subscriber")
        await subscriber.subscribe("#")
        async with site.client() as idle, site.client() as stranger:
            await idle.connect("*", site.token, client_id="idle")
            await until(lambda: site.metric("mqtt_idle_connections") == 2)
            async with site.client() as third:
                await third.connect("*", site.token, client_id="third")
                assert await stranger.end() is None
                async with site.client() as fourth:
                    await fourth.connect("*", site.token, client_id="fourth")
                    assert await idle.end() == 0x89
                    for each in (subscriber, third, fourth):
                        await each.ping()

        assert site.metric("mqtt_displaced") == 2


async def test_a_publication_over_the_clients_limit_is_left_out(site: MqttBench) -> None:
    collection = await site.fleet.collection()
    device = await site.device(collection)
    async with site.client() as subscriber, site.client() as other:
        await other.connect("*", site.token, client_id="other")
        await other.subscribe("#")
        site.receive(device, b"a" * 1_000)
        octets = len((await other.receive()).body) + 3  # type and length
        await subscriber.connect("*", site.token, properties=b"\x27" + octets.to_bytes(4, "big"))
        await subscriber.subscribe("#")
        for payload in (b"a" * 1_003, b"b" * 1_000, b"c"):
            site.receive(device, payload)
        payloads = [(await subscriber.publication())[1]["payload"] for _ in range(2)]

    assert [b64decode(each) for each in payloads] == [b"b" * 1_000, b"c"]


async def test_a_subscriber_that_was_behind_learns_of_its_gap(tmp_path: Path) -> None:
    """As an event of its own topic; the messages' topics have none."""
    fanout = {"subscriber_buffer": 4_096, "send_buffer": 4_608, "stalled_after": 1_000.0}
    async with (
        mqtt_bench(tmp_path, fanout=fanout) as site,
        site.client(receive_buffer=4_096) as subscriber,
    ):
        event = UpstreamMessage(origin=Origin(1, 2), bytes=1, transport=Transport.UDP, detail="x" * 1_000)
        await subscriber.connect("*", site.token)
        await subscriber.subscribe("activity/+/+/upstreamMessage")
        dropped = 0
        while not dropped:
            for _ in range(50):
                site.fleet.bus.publish(event)
            await asyncio.sleep(0)
            dropped = site.hub.dropped
        found = 0
        while True:
            reading = asyncio.ensure_future(subscriber.publication())
            while not reading.done():
                site.hub.sweep()
                await asyncio.sleep(0)
            topic, told = await reading
            if told["event"] == "eventsDropped":
                break
            found += 1

    assert topic == "activity/0/0/eventsDropped"
    assert told["data"]["count"] == str(site.hub.dropped)
    assert found > 0
