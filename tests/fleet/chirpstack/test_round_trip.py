"""Our events, written as ChirpStack would, and read by another server of ours."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from span_events.dialects.chirpstack.encoding import json_of, protobuf_of
from span_events.dialects.chirpstack.event import Translated, translate
from span_events.dialects.chirpstack.rules import Kind
from span_events.events.activity import Activity
from span_events.events.catalogue import (
    ClientDisconnected,
    DownstreamAck,
    UpstreamMessage,
)
from span_events.events.message import Transport
from span_events.events.reasons import DownlinkState
from span_events.fleet.chirpstack.intake import Outcome
from span_events.fleet.devices.devices import DeviceChange
from span_events.registry.model import Collection, Device
from tests.bench.fleets import CAUSE, FleetBench

ENCODINGS = pytest.mark.parametrize("write", [json_of, protobuf_of])
TRUSTING = pytest.mark.parametrize("bench", [{"chirpstack": {"trust_span_tags": True}}], indirect=True)


async def home(bench: FleetBench) -> tuple[Collection, Device]:
    """Make a collection and a device."""
    collection = await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(tags={"name": "pump"}), cause=CAUSE)
    bench.activities.clear()
    return collection, device


async def return_of(bench: FleetBench, activity: Activity, write: Callable[[Translated], bytes]) -> Activity:
    """Write an activity in ChirpStack's form and take it in; return what was published."""
    translated = translate(activity, bench.facts)
    assert translated is not None
    assert activity.event.origin.collection_id is not None
    collection = bench.directory.collection(activity.event.origin.collection_id)
    bench.activities.clear()
    bench.messages.clear()
    await bench.chirpstack.take(
        collection, translated.kind, write(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
    )
    (again,) = bench.activities
    return again


@pytest.mark.parametrize("bench", [{"chirpstack": {"integration_events": True}}], indirect=True)
async def test_a_setting_selects_integration_events(bench: FleetBench) -> None:
    await bench.devices.create(await bench.collection(), DeviceChange(), cause=CAUSE)
    translated = translate(bench.activities[-1], bench.facts)

    assert translated is not None
    assert translated.kind is Kind.INTEGRATION
    assert translated.document["eventType"] == "deviceCreated"


@ENCODINGS
@TRUSTING
async def test_a_message_keeps_collection_device_event_time_and_payload(
    bench: FleetBench, write: Callable[[Translated], bytes]
) -> None:
    _, device = await home(bench)
    bench.reception.received(
        device, b"tvl=1.82m", remote=("10.0.0.1", 1), transport=Transport.COAP, local_port=1, coap_path="a"
    )
    sent = bench.activities[-1]
    again = await return_of(bench, sent, write)

    assert isinstance(again.event, UpstreamMessage)
    assert again.event.origin == device.origin
    assert again.event.network_time == sent.time_ns // 1_000_000
    assert bench.messages[0].payload == b"tvl=1.82m"


@TRUSTING
@pytest.mark.parametrize("tag", ["", "[]", "{", '{"bytes":"many"}', '{"bytes":"3","messageId":"zz"}', '{"bytes":3}'])
async def test_data_that_is_not_whole_makes_the_event_one_of_the_network(bench: FleetBench, tag: str) -> None:
    """Another program may have changed the tags."""
    _, device = await home(bench)
    message = await bench.outbox.queue(device, b"on", cause=CAUSE)
    bench.outbox.sent(device, message, transport=Transport.COAP, cause=None)
    translated = translate(bench.activities[-1], bench.facts)
    assert translated is not None
    translated.document["deviceInfo"]["tags"]["span_data"] = tag
    bench.activities.clear()
    await bench.chirpstack.take(
        device.collection, "txack", json_of(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
    )
    (again,) = bench.activities

    assert isinstance(again.event, DownstreamAck)
    assert (again.event.state, again.event.origin) == (DownlinkState.TRANSMITTED, device.origin)


@TRUSTING
async def test_a_time_in_the_future_is_now(bench: FleetBench) -> None:
    """The clocks of two servers differ."""
    _, device = await home(bench)
    bench.bus.publish(ClientDisconnected(origin=device.origin))
    translated = translate(bench.activities[-1], bench.facts)
    assert translated is not None
    translated.document["time"] = "2105-01-01T00:00:00+00:00"
    await bench.chirpstack.take(
        device.collection, "log", json_of(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
    )

    assert bench.names == ["clientDisconnected"] * 2
    assert bench.activities[-1].time_ns == bench.clock.time_ns()


async def test_an_event_that_comes_back_to_its_collection_is_no_second_one(bench: FleetBench) -> None:
    """An output and the intake at one broker would pass it round for ever."""
    collection, device = await home(bench)
    bench.bus.publish(ClientDisconnected(origin=device.origin))
    translated = translate(bench.activities[-1], bench.facts)
    assert translated is not None
    outcome = await bench.chirpstack.take(
        collection, "log", json_of(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
    )

    assert outcome is Outcome.DUPLICATE
    assert bench.names == ["clientDisconnected"]


async def test_tags_of_strangers_are_not_believed(bench: FleetBench) -> None:
    """Without chirpstack.trust_span_tags, the EUI-64 decides, and the event is the network server's."""
    _, device = await home(bench)
    collection = await bench.collection()
    bench.bus.publish(ClientDisconnected(origin=device.origin))
    translated = translate(bench.activities[-1], bench.facts)
    assert translated is not None
    bench.activities.clear()
    await bench.chirpstack.take(
        collection, "log", json_of(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
    )

    assert bench.names == ["deviceCreated", "networkLog"]
    assert bench.events[1].origin != device.origin
