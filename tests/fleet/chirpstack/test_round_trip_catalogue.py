"""Every event of the catalogue, written as ChirpStack would, and read by another server of ours."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from span_events.dialects.chirpstack.encoding import json_of, protobuf_of
from span_events.dialects.chirpstack.event import Translated, translate
from span_events.dialects.span import data_of
from span_events.events.activity import SpanId
from span_events.events.catalogue import CATALOGUE, DownstreamAck, DownstreamMessage, UpstreamMessage
from span_events.fleet.chirpstack.intake import Outcome
from span_events.fleet.devices.devices import DeviceChange
from tests.bench.clock import START_NS
from tests.bench.fleets import CAUSE, FleetBench
from tests.dialects.chirpstack.facts import SampleFacts
from tests.dialects.things_stack.samples import activity, events

SETTINGS = {"chirpstack": {"trust_span_tags": True}, "messages": {"rate": 1e6, "burst": 100_000}}
MASKED = ("imsi", "imei", "expectedImsi", "expectedImei")
"""Keys whose values are cut on purpose."""
EARLIER_NS = START_NS - 90_123_000_000
WITHOUT = {"eventsDropped", "gatewayUpstreamMessage", "gatewayDownstreamMessage"}


class Facts(SampleFacts):
    """As the samples have it, but with a payload for each message."""

    def payload(self, collection_id: int, message_id: int) -> bytes:
        """Return the payload."""
        return b"tvl=1.82m"


@pytest.mark.parametrize("bench", [SETTINGS], indirect=True)
@pytest.mark.parametrize("write", [json_of, protobuf_of])
@pytest.mark.parametrize("integration_events", [False, True])
async def test_collection_device_event_time_and_payload_are_kept(
    bench: FleetBench, integration_events: bool, write: Callable[[Translated], bytes]
) -> None:
    """Data is, too, but for the digits of identities; the time of a message is its networkTime."""
    collection = await bench.collection()
    device = await bench.devices.create(collection, DeviceChange(), cause=CAUSE)
    facts = Facts(integration_events=integration_events)
    seen = set()
    for number, sample in enumerate(events()):
        if sample.origin.device_id is None:
            continue
        event = dataclasses.replace(sample, origin=device.origin)
        if isinstance(event, UpstreamMessage | DownstreamMessage):
            event = dataclasses.replace(event, message_id=SpanId(number))
        if isinstance(event, DownstreamAck):  # the id of the downlink identifies a txack
            event = dataclasses.replace(event, queue_item_id=f"item {number}")
        translated = translate(activity(event, time_ns=EARLIER_NS, identifier=number << 20), facts)
        if translated is None:
            continue
        bench.activities.clear()
        bench.messages.clear()
        outcome = await bench.chirpstack.take(
            collection, translated.kind, write(translated), content_type="", remote=("10.0.0.9", 1), cause=CAUSE
        )
        assert outcome is Outcome.ACCEPTED, event
        again = bench.activities[-1]
        seen.add(event.name)

        assert again.event.name == event.name
        assert again.event.origin == device.origin
        if isinstance(again.event, UpstreamMessage):
            assert again.event.network_time == EARLIER_NS // 1_000_000
            assert bench.messages[0].payload == b"tvl=1.82m"
        else:
            assert again.time_ns == EARLIER_NS
            kept, found = data_of(event), data_of(again.event)
            assert {key: found.get(key) for key in kept if key not in MASKED} == {
                key: value for key, value in kept.items() if key not in MASKED
            }, event.name

    of_devices = {each.origin.device_id is not None and each.name for each in events()} - {False}
    assert seen == of_devices - WITHOUT
    assert len(seen) > len(CATALOGUE) // 2
