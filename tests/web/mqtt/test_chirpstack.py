"""Events in ChirpStack's form, at the topics of its MQTT integration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from span_events.dialects.chirpstack.event import Translated
from span_events.events.activity import Origin
from span_events.events.catalogue import DeviceStatus, DownstreamAck, GatewayConnected
from span_events.events.reasons import DownlinkState
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.proto import chirpstack_pb2 as pb
from tests.bench.waiting import until
from tests.web.mqtt.bench import MqttBench, mqtt_bench

pytestmark = pytest.mark.asyncio(loop_scope="module")

EUI = "3a87ffadd4b8f47a"


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="site")
async def shared_site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MqttBench]:
    """One listener for all tests of this file; each test makes its own collection."""
    async with mqtt_bench(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.mark.parametrize("level", [4, 5])
async def test_a_message_is_an_uplink_with_its_payload(site: MqttBench, level: int) -> None:
    """As ChirpStack publishes it: no properties, JSON, the type of event in the topic."""
    collection = await site.fleet.collection()
    device = await site.fleet.devices.create(collection, DeviceChange(tags={"devEui": EUI.upper()}), cause=1)
    async with site.client(level) as subscriber:
        await subscriber.connect(render(collection.id), site.token)
        assert await subscriber.subscribe("application/+/device/+/event/up") == [0]
        site.receive(device, b"hello")
        topic, event = await subscriber.publication()
        await subscriber.ping()

    assert topic == f"application/{render(collection.id)}/device/{EUI}/event/up"
    assert (event["data"], event["deviceInfo"]["devEui"]) == ("aGVsbG8=", EUI)
    assert event["deviceInfo"]["tags"]["span_device_id"] == render(device.id)
    assert event["time"].endswith("+00:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("application/#", ["log", "up", "status", "ack", "log", "up"]),
        ("application/{c}/#", ["log", "up", "status", "ack", "log", "up"]),
        ("application/+/device/+/event/+", ["log", "up", "status", "ack", "log", "up"]),
        (f"application/+/device/{EUI}/#", ["log", "up", "status", "ack"]),
        ("application/{c}/device/+/event/status", ["status"]),
        (f"application/{{c}}/device/{EUI}/event/ack", ["ack"]),
        ("application/{c}/device/0000000000000000/event/+", []),
    ],
)
async def test_a_filter_selects_topics(site: MqttBench, text: str, expected: list[str]) -> None:
    """Events of gateways, and the gateways' halves of messages, have no such topic."""
    collection = await site.fleet.collection()
    device = await site.fleet.devices.create(collection, DeviceChange(tags={"devEui": EUI}), cause=1)
    other = await site.device(collection)
    gateway = await site.fleet.gateway(collection)
    async with site.client() as subscriber:
        await subscriber.connect(render(collection.id), site.token)
        assert await subscriber.subscribe(text.format(c=render(collection.id))) == [0]
        site.receive(device)
        site.fleet.bus.publish(DeviceStatus(origin=device.origin, margin=7, power="external"))
        site.fleet.bus.publish(
            GatewayConnected(origin=gateway.origin, remote_address="10.0.0.1:1", certificate_serial="1")
        )
        site.fleet.bus.publish(DownstreamAck(origin=device.origin, state=DownlinkState.ACKNOWLEDGED))
        site.receive(other)
        found = [(await subscriber.publication())[0].rpartition("/")[2] for _ in expected]
        await subscriber.ping()

    assert found == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("application/+/device/+/event/uplink", 0x8F),
        ("application/+/device/+/command/down", 0x8F),
        ("application/+/gateway/+/event/up", 0x8F),
        ("application/+/device/abc/event/up", 0x8F),
        (f"application/+/device/{EUI.upper()}/event/up", 0x8F),
        ("application/364c49d9-7b47-5b46-857d-cce345802d0c/#", 0x8F),
        ("application/{other}/#", 0x87),
    ],
)
async def test_a_filter_without_topics_is_refused(site: MqttBench, text: str, code: int) -> None:
    collection, other = await site.fleet.collection(), await site.fleet.collection()
    async with site.client() as subscriber:
        await subscriber.connect(render(collection.id), site.token)

        assert await subscriber.subscribe(text.format(other=render(other.id))) == [code]


async def test_all_three_forms_come_to_one_client_and_end_alone(site: MqttBench) -> None:
    collection = await site.fleet.collection()
    device = await site.device(collection)
    site.receive(device)
    async with site.client() as subscriber:
        await subscriber.connect(render(collection.id), site.token)
        await subscriber.subscribe("#", "activity/+/+/upstreamMessage", "application/+/device/+/event/up")
        site.receive(device)
        found = {(await subscriber.publication())[0].partition("/")[0] for _ in range(3)}
        await subscriber.unsubscribe("application/+/device/+/event/up")
        site.receive(device)
        rest = {(await subscriber.publication())[0].partition("/")[0] for _ in range(2)}
        await subscriber.ping()
    await until(lambda: site.hub.subscribers == 0)

    assert found == {render(collection.id), "activity", "application"}
    assert rest == {render(collection.id), "activity"}


async def test_the_payload_is_protobuf_by_setting(tmp_path: Path) -> None:
    async with mqtt_bench(tmp_path, mqtt={"chirpstack": "protobuf"}) as site:
        device = await site.device(await site.fleet.collection())
        async with site.client(4) as subscriber:
            await subscriber.connect("*", site.token)
            await subscriber.subscribe("application/+/device/+/event/up")
            site.receive(device, b"hello")
            received = await subscriber.receive()

    event = pb.UplinkEvent.FromString(received.body[2 + len(received.topic.encode()) :])
    assert (event.data, event.device_info.tags["span_device_id"]) == (b"hello", render(device.id))


async def test_an_event_is_written_once_for_all_subscribers_of_a_form(
    site: MqttBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = await site.device(await site.fleet.collection())
    written: list[Origin] = []

    def recorded(origin: Origin, _event: Translated) -> bytes:
        written.append(origin)
        return b"a/b"

    monkeypatch.setattr(
        "span_events.web.mqtt.publications.chirpstack_topic",
        recorded,
    )
    async with site.client() as first, site.client() as second, site.client(4) as third:
        for number, each in enumerate((first, second, third)):
            await each.connect("*", site.token, client_id=f"c{number}")
            await each.subscribe("application/+/device/+/event/up")
        site.receive(device)
        for each in (first, second, third):
            assert (await each.publication())[0] == "a/b"

    assert len(written) == 1
