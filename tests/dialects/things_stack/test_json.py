"""The Things Stack's JSON of events: forms, order of the keys, and a match with the published schema."""

from __future__ import annotations

import dataclasses
import json

import orjson
import pytest

from span_events import ids
from span_events.dialects import span
from span_events.dialects.things_stack.event import VALUE, render_time
from span_events.dialects.things_stack.json import JsonDialect
from span_events.events.activity import Event, Origin, SpanId
from span_events.events.catalogue import (
    CATALOGUE,
    DeviceCreated,
    DeviceMoved,
    DownstreamMessage,
    DownstreamQueued,
    EventsDropped,
    FirmwareStateChange,
    GatewayDisconnected,
    GatewayUpstreamMessage,
    ImsiMismatch,
    UpstreamMessage,
)
from span_events.events.message import Transport
from span_events.events.reasons import DroppedReason, FirmwareState, GatewayReason
from tests.bench.clock import START_NS
from tests.dialects.things_stack.samples import CAUSE, COLLECTION, DEVICE, GATEWAY, ORIGIN, SESSION, activity, events_of
from tests.dialects.things_stack.schemas import ERROR_DETAILS, EVENT, check

DIALECT = JsonDialect("host-1")
DEVICE_IDS = {"device_ids": {"device_id": "17kl14hm46h4c2", "application_ids": {"application_id": "17dj5j4ce8bkci"}}}
GATEWAY_IDS = {"gateway_ids": {"gateway_id": "17eh0cf43jfgl0"}}


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=CATALOGUE)
def test_every_event_is_of_the_published_schema(kind: type[Event]) -> None:
    """Of the Any types, only those occur that clients can decode."""
    for event in events_of(kind):
        published = activity(event)
        found = json.loads(DIALECT.encode(published))
        data = found.get("data", {})

        check(found, EVENT)
        assert orjson.dumps(DIALECT.document(published)) == DIALECT.encode(published)
        if data.get("@type") == "type.googleapis.com/ttn.lorawan.v3.ErrorDetails":
            check(data, ERROR_DETAILS)
        elif data:
            assert list(data) == ["@type", "value"]
            assert data["@type"] == VALUE


def test_an_event_has_its_keys_in_the_order_of_the_protobuf() -> None:
    """Compact, as the original writes events."""
    event = UpstreamMessage(
        origin=ORIGIN,
        correlation_id=CAUSE,
        session_id=SESSION,
        bytes=9,
        transport=Transport.DTLS,
        message_id=SpanId(CAUSE),
    )

    assert DIALECT.encode(activity(event)).decode() == (
        '{"name":"as.up.data.forward","time":"2024-04-25T20:23:36Z",'
        '"identifiers":[{"device_ids":{"device_id":"17kl14hm46h4c2",'
        '"application_ids":{"application_id":"17dj5j4ce8bkci"}}}],'
        '"data":{"@type":"type.googleapis.com/google.protobuf.Value",'
        '"value":{"bytes":"9","messageId":"17dh0cf43jfgl8","transport":"dtls"}},'
        f'"correlation_ids":["as:conn:{ids.to_ulid(SESSION)}","as:up:{ids.to_ulid(CAUSE)}",'
        f'"cause:{ids.to_ulid(CAUSE)}"],'
        '"origin":"host-1","visibility":{"rights":["RIGHT_APPLICATION_TRAFFIC_READ"]},'
        f'"unique_id":"{ids.to_ulid(CAUSE + 1024)}"}}'
    )


@pytest.mark.parametrize(
    ("fraction", "text"),
    [
        (0, "2024-04-25T20:23:36Z"),
        (120_000_000, "2024-04-25T20:23:36.120Z"),
        (120_450_000, "2024-04-25T20:23:36.120450Z"),
        (120_450_001, "2024-04-25T20:23:36.120450001Z"),
    ],
)
def test_a_time_has_0_3_6_or_9_fractional_digits(fraction: int, text: str) -> None:
    assert render_time(START_NS + fraction) == text


def test_an_event_without_data_has_no_data_key() -> None:
    assert "data" not in json.loads(DIALECT.encode(activity(DeviceCreated(origin=ORIGIN))))


def test_a_failure_is_an_error_with_template_values_and_hint() -> None:
    """Span's data stay whole among the attributes, beside the name of Span's event."""
    event = ImsiMismatch(origin=ORIGIN, imsi="001", imei="35", expected_imsi="002")
    found = json.loads(DIALECT.encode(activity(event)))["data"]

    assert (found["namespace"], found["name"], found["code"]) == ("span", "imsi_mismatch", 7)
    assert span.data_of(event).items() <= found["attributes"].items()
    assert found["attributes"]["span_event"] == "imsiMismatch"
    assert found["attributes"]["hint"] == ImsiMismatch.hint
    assert found["message_format"].endswith(": {hint}")


def test_a_firmware_update_that_failed_has_another_name_than_its_progress() -> None:
    progress = FirmwareStateChange(origin=ORIGIN, state=FirmwareState.DOWNLOADING)
    failure = FirmwareStateChange(origin=ORIGIN, state=FirmwareState.UPDATE_FAILED)
    names = [json.loads(DIALECT.encode(activity(each)))["name"] for each in (progress, failure)]

    assert names == ["as.packages.fota.v1.state.update", "as.packages.fota.v1.update.fail"]


@pytest.mark.parametrize(
    ("reason", "type_"),
    [
        (GatewayReason.CLOSED, VALUE),
        (GatewayReason.KEEPALIVE_TIMEOUT, VALUE.replace("google.protobuf.Value", "ttn.lorawan.v3.ErrorDetails")),
    ],
)
def test_only_an_abnormal_end_of_a_gateway_is_an_error(reason: GatewayReason, type_: str) -> None:
    event = GatewayDisconnected(origin=Origin(COLLECTION, None, GATEWAY), reason=reason)

    assert json.loads(DIALECT.encode(activity(event)))["data"]["@type"] == type_


def test_a_gateways_message_names_gateway_and_device() -> None:
    """A right on either makes it visible."""
    event = GatewayUpstreamMessage(origin=Origin(COLLECTION, DEVICE, GATEWAY), bytes=9, message_id=SpanId(CAUSE))
    found = json.loads(DIALECT.encode(activity(event)))

    assert found["identifiers"] == [GATEWAY_IDS, DEVICE_IDS]
    assert found["visibility"]["rights"] == ["RIGHT_GATEWAY_TRAFFIC_READ", "RIGHT_APPLICATION_TRAFFIC_READ"]


def test_a_message_through_a_gateway_names_the_device_only() -> None:
    """The gateway's own event stands beside it; both carry the id of the message."""
    origin = Origin(COLLECTION, DEVICE, GATEWAY)
    received = GatewayUpstreamMessage(origin=origin, bytes=9, message_id=SpanId(CAUSE))
    accepted = UpstreamMessage(origin=origin, bytes=9, transport=Transport.GATEWAY, message_id=SpanId(CAUSE))
    first, second = (json.loads(DIALECT.encode(activity(each))) for each in (received, accepted))

    assert second["identifiers"] == [DEVICE_IDS]
    assert first["correlation_ids"] == second["correlation_ids"] == [f"gs:uplink:{ids.to_ulid(CAUSE)}"]


def test_a_move_names_the_device_in_both_collections() -> None:
    event = DeviceMoved(origin=ORIGIN, from_collection=SpanId(COLLECTION), to_collection=SpanId(GATEWAY))
    found = json.loads(DIALECT.encode(activity(event)))["identifiers"]

    assert [each["device_ids"]["application_ids"]["application_id"] for each in found] == [
        "17dj5j4ce8bkci",
        "17eh0cf43jfgl0",
    ]


def test_a_downstream_message_is_followed_from_the_queue_to_the_device() -> None:
    queued = DownstreamQueued(origin=ORIGIN, message_id=SpanId(CAUSE), bytes=1, position=1)
    sent = DownstreamMessage(origin=ORIGIN, message_id=SpanId(CAUSE), bytes=1, transport=Transport.UDP)
    found = [json.loads(DIALECT.encode(activity(each)))["correlation_ids"] for each in (queued, sent)]

    assert found == [[f"as:downlink:{ids.to_ulid(CAUSE)}"]] * 2


def test_a_gap_is_an_event_of_the_stream_without_rights() -> None:
    event = EventsDropped(origin=Origin(), reason=DroppedReason.SLOW_SUBSCRIBER, count=3)
    found = json.loads(DIALECT.encode(activity(event)))

    assert found["name"] == "events.stream.drop"
    assert found["data"]["attributes"]["count"] == "3"
    assert not {"identifiers", "visibility"} & set(found)


def test_the_unique_id_depends_on_the_event_alone() -> None:
    """Another process and a reconnect show the same one."""
    one = activity(DeviceCreated(origin=ORIGIN))
    other = dataclasses.replace(one)

    first, second = JsonDialect("a").document(one)["unique_id"], JsonDialect("b").document(other)["unique_id"]

    assert first == second == ids.to_ulid(one.id)
    assert ids.from_ulid(first) == one.id


def test_a_redacted_event_keeps_what_happened_where() -> None:
    event = ImsiMismatch(origin=ORIGIN, correlation_id=CAUSE, imsi="001", imei="35", expected_imsi="002")
    found = DIALECT.document(activity(event), redacted=True)

    assert list(found) == ["name", "time", "identifiers", "origin", "visibility", "unique_id"]


def test_the_start_of_a_stream_shows_the_resolved_filter() -> None:
    found = DIALECT.start(
        CAUSE, START_NS, identifiers=[GATEWAY_IDS], names=["gs.up.receive"], request_id="01HF7YATZ60000000000000003"
    )

    assert found.decode() == (
        '{"name":"events.stream.start","time":"2024-04-25T20:23:36Z",'
        '"identifiers":[{"gateway_ids":{"gateway_id":"17eh0cf43jfgl0"}}],'
        '"data":{"@type":"type.googleapis.com/google.protobuf.Value","value":["gs.up.receive"]},'
        '"correlation_ids":["rpc:/ttn.lorawan.v3.Events/Stream:01HF7YATZ60000000000000003"],'
        f'"origin":"host-1","unique_id":"{ids.to_ulid(CAUSE)}"}}'
    )


def test_the_start_of_a_stream_without_a_filter_has_no_data() -> None:
    found = json.loads(DIALECT.start(CAUSE, START_NS, identifiers=[GATEWAY_IDS], names=None, request_id="x"))

    assert "data" not in found
