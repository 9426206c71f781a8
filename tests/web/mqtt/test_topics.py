"""What a subscriber receives: topics, wildcards, overlapping filters."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import CATALOGUE, GatewayConnected
from span_events.ids import render
from tests.bench.waiting import until
from tests.web.mqtt.bench import MqttBench, mqtt_bench

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.parametrize("level", [4, 5])]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="site")
async def shared_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MqttBench]:
    """One listener for all tests of this file; each test makes its own collection."""
    async with mqtt_bench(tmp_path_factory.mktemp("site"), mqtt={"subscriptions": 3}) as found:
        yield found


async def test_a_message_of_a_device_is_an_output_data_message(site: MqttBench, level: int) -> None:
    """Span's clients subscribe to ``#`` as the user COLLECTION, and expect no events."""
    collection = await site.fleet.collection()
    device = await site.device(collection)
    async with site.client(level) as subscriber:
        assert await subscriber.connect(render(collection.id), site.token) == 0
        assert await subscriber.subscribe("#") == [0]
        site.receive(device, b"hello")
        topic, message = await subscriber.publication()
        await subscriber.ping()

    assert topic == f"{render(collection.id)}/{render(device.id)}"
    assert (message["type"], message["payload"], message["transport"]) == ("data", "aGVsbG8=", "udp")
    assert message["device"]["deviceId"] == render(device.id)


async def test_events_have_topics_of_collection_device_and_name(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    device = await site.device(collection)
    async with site.client(level) as subscriber:
        assert await subscriber.connect("*", site.token) == 0
        assert await subscriber.subscribe("activity/#") == [0]
        site.receive(device)
        found = [await subscriber.publication() for _ in range(2)]

    assert [topic for topic, _ in found] == [
        f"activity/{render(collection.id)}/{render(device.id)}/{name}"
        for name in ("clientConnected", "upstreamMessage")
    ]
    assert found[1][1]["data"] == {"bytes": "5", "messageId": found[1][1]["data"]["messageId"], "transport": "udp"}
    assert {"id", "severity", "hint"} <= found[1][1].keys()


async def test_an_event_of_a_gateway_has_its_id_and_one_of_neither_has_0(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    gateway = await site.fleet.gateway(collection)
    c, g = render(collection.id), render(gateway.id)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        assert await subscriber.subscribe(f"activity/{c}/{g}/#", f"activity/{c}/0/#", "activity/0/+/+") == [0, 0, 0]
        for origin in (gateway.origin, Origin(collection.id), UNATTRIBUTED):
            site.fleet.bus.publish(GatewayConnected(origin=origin, remote_address="10.0.0.1:1", certificate_serial="1"))
        found = [(await subscriber.publication())[0] for _ in range(3)]

    assert found == [f"activity/{topic}/gatewayConnected" for topic in (f"{c}/{g}", f"{c}/0", "0/0")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{c}/{d}", ["message"]),
        ("+/{d}", ["message"]),
        ("{c}/+", ["message", "other"]),
        ("{c}/#", ["message", "other"]),
        ("+/+", ["message", "other"]),
        ("{c}/{d}/#", ["message"]),
        ("activity/{c}/{d}/upstreamMessage", ["upstreamMessage"]),
        ("activity/+/{d}/+", ["clientConnected", "upstreamMessage"]),
        ("activity/{c}/{d}/#", ["clientConnected", "upstreamMessage"]),
        ("activity/+/+/upstreamMessage", ["upstreamMessage", "other/upstreamMessage"]),
        ("activity/+/+/+/#", ["clientConnected", "upstreamMessage", "other/clientConnected", "other/upstreamMessage"]),
    ],
)
async def test_a_filter_selects_topics(site: MqttBench, level: int, text: str, expected: list[str]) -> None:
    collection = await site.fleet.collection()
    device, other = await site.device(collection), await site.device(collection)
    c, d, o = render(collection.id), render(device.id), render(other.id)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        assert await subscriber.subscribe(text.format(c=c, d=d)) == [0]
        site.receive(device)
        site.receive(other)
        found = []
        for _ in expected:
            topic, _ = await subscriber.publication()
            _, _, last = topic.rpartition("/")
            found.append(f"other/{last}" if f"/{o}/" in topic else {d: "message", o: "other"}.get(last, last))
        await subscriber.ping()

    assert found == expected


async def test_overlapping_filters_deliver_once(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    device = await site.device(collection)
    c, d = render(collection.id), render(device.id)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        assert await subscriber.subscribe("#", f"{c}/{d}", "+/+") == [0, 0, 0]
        site.receive(device)
        await subscriber.publication()
        await subscriber.ping()
        await subscriber.unsubscribe("#", "+/+")
        site.receive(device)
        await subscriber.publication()
        await subscriber.ping()


async def test_filters_of_events_are_joined_by_or(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    device, other = await site.device(collection), await site.device(collection)
    c = render(collection.id)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        await subscriber.subscribe(f"activity/{c}/{render(device.id)}/clientConnected", "activity/+/+/upstreamMessage")
        site.receive(other)
        site.receive(device)
        found = [(await subscriber.publication())[1]["event"] for _ in range(3)]
        await subscriber.ping()

    assert found == ["upstreamMessage", "clientConnected", "upstreamMessage"]


async def test_an_ended_subscription_is_silent(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    device = await site.device(collection)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        await subscriber.subscribe("#")
        codes = await subscriber.unsubscribe("#", "+/+")
        site.receive(device)
        await subscriber.ping()

    assert codes == ([0, 0x11] if level == 5 else [])
    await until(lambda: site.hub.subscribers == 0)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a+", 0x8F),
        ("#/a", 0x8F),
        ("+", 0x8F),
        ("foo/+", 0x8F),
        ("17/+", 0x8F),
        ("+/17", 0x8F),
        ("{other}/{device}", 0x8F),
        ("activity", 0x8F),
        ("activity/+", 0x8F),
        ("activity/+/+/clientConected", 0x8F),
        ("activity/+/+/+/+", 0x8F),
        ("+/+/+/+", 0x8F),
        ("$share/group/#", 0x9E),
        ("$SYS/#", 0),
    ],
)
async def test_a_filter_without_topics_is_refused_alone(site: MqttBench, level: int, text: str, code: int) -> None:
    """Clients that look for the statistics of a broker find none, and go on."""
    collection, other = await site.fleet.collection(), await site.fleet.collection()
    device = await site.device(collection)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        text = text.format(other=render(other.id), device=render(device.id))
        codes = await subscriber.subscribe(text, f"{render(collection.id)}/+")
        site.receive(device)
        await subscriber.publication()

    assert codes == [code if level == 5 else code and 0x80, 0]


async def test_a_user_of_one_collection_sees_no_other(site: MqttBench, level: int) -> None:
    collection, other = await site.fleet.collection(), await site.fleet.collection()
    devices = [await site.device(each) for each in (other, collection)]
    async with site.client(level) as subscriber:
        await subscriber.connect(render(collection.id), site.token)
        codes = await subscriber.subscribe("+/+", f"{render(other.id)}/+", f"activity/{render(other.id)}/#")
        for device in devices:
            site.receive(device)
        topic, _ = await subscriber.publication()
        await subscriber.ping()

    assert codes == [0, *([0x87] * 2 if level == 5 else [0x80] * 2)]
    assert topic == f"{render(collection.id)}/{render(devices[1].id)}"


async def test_a_token_of_one_device_sees_that_device(site: MqttBench, level: int) -> None:
    collection = await site.fleet.collection()
    device, other = await site.device(collection), await site.device(collection)
    resource = f"/collections/{render(collection.id)}/devices/{render(device.id)}"
    _, secret = await site.tokens.create(resource=resource, write=False)
    async with site.client(level) as subscriber:
        await subscriber.connect("*", secret)
        codes = await subscriber.subscribe("#", "activity/#", f"+/{render(other.id)}")
        site.receive(other)
        site.receive(device)
        found = [(await subscriber.publication())[0] for _ in range(3)]
        await subscriber.ping()

    assert codes == [0, 0, 0x87 if level == 5 else 0x80]
    assert all(render(device.id) in topic for topic in found)


async def test_more_filters_than_allowed_are_refused(site: MqttBench, level: int) -> None:
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        names = list(CATALOGUE)[:4]
        codes = await subscriber.subscribe(*(f"activity/+/+/{name}" for name in names))
        again = await subscriber.subscribe(f"activity/+/+/{names[0]}")

    assert codes == [0, 0, 0, 0x97 if level == 5 else 0x80]
    assert again == [0]


async def test_a_subscription_that_is_repeated_goes_on(site: MqttBench, level: int) -> None:
    """Clients repeat their SUBSCRIBE, and a second filter of the same topics changes nothing (3.8.4)."""
    device = await site.device(await site.fleet.collection())
    async with site.client(level) as subscriber:
        await subscriber.connect("*", site.token)
        for filters in (["#"], ["#"], ["+/+"]):
            assert await subscriber.subscribe(*filters) == [0]
        site.receive(device)
        await subscriber.publication()
        await subscriber.ping()
    await until(lambda: site.metric("mqtt_connections") == 0)
