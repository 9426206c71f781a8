"""Our events in ChirpStack's form: identities, kinds, fields, times, and octets."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict, Parse

from span_events.dialects.chirpstack.encoding import MESSAGES, ChirpstackDialect, json_of, protobuf_of
from span_events.dialects.chirpstack.event import Translated, render_rfc3339, translate
from span_events.dialects.chirpstack.identity import eui_of, real_eui
from span_events.dialects.chirpstack.rules import UNMAPPED, Kind
from span_events.events import catalogue
from span_events.events.activity import Event, Origin, SpanId
from span_events.events.message import Transport
from span_events.events.reasons import DownlinkState, FirmwareState, NetworkLogReason
from span_events.proto import chirpstack_pb2 as pb
from tests.dialects.chirpstack.facts import SampleFacts
from tests.dialects.things_stack.samples import COLLECTION, DEVICE, GATEWAY, ORIGIN, activity, events

ALWAYS = {
    Kind.UP: "deduplicationId time deviceInfo devAddr adr dr fCnt fPort confirmed data rxInfo txInfo regionConfigId",
    Kind.JOIN: "deduplicationId time deviceInfo devAddr regionConfigId",
    Kind.ACK: "deduplicationId time deviceInfo queueItemId acknowledged fCntDown",
    Kind.TXACK: "downlinkId time deviceInfo queueItemId fCntDown gatewayId txInfo",
    Kind.LOG: "time deviceInfo level code description context",
    Kind.STATUS: "deduplicationId time deviceInfo margin externalPowerSource batteryLevelUnavailable batteryLevel",
    Kind.LOCATION: "deduplicationId time deviceInfo location",
}
"""Fields that ChirpStack writes in every event of a kind."""


def translated(event: Event, facts: SampleFacts | None = None) -> Translated:
    """Translate an event that has a counterpart."""
    found = translate(activity(event), facts or SampleFacts())
    assert found is not None
    return found


def message() -> catalogue.UpstreamMessage:
    """Return an upstream message, the device's 42nd."""
    return catalogue.UpstreamMessage(
        origin=ORIGIN, bytes=9, transport=Transport.UDP, message_id=SpanId(COLLECTION + 5), number=41
    )


def test_identities_are_those_of_the_published_vectors() -> None:
    found = translated(message())

    assert found.dev_eui == "3a87ffadd4b8f47a"
    assert found.application_id == "364c49d9-7b47-5b46-857d-cce345802d0c"
    assert found.document["rxInfo"][0]["gatewayId"] == eui_of("gateway", "cellular") == "12c75b61609dd97e"
    assert found.document["deviceInfo"]["deviceProfileId"] == "edf64c39-2415-53be-93aa-2c48b49b888f"
    assert found.topic == ("application/364c49d9-7b47-5b46-857d-cce345802d0c/device/3a87ffadd4b8f47a/event/up")


def test_a_message_is_an_uplink_with_its_payload_and_counter() -> None:
    document = translated(message()).document

    assert document["data"] == "dHZsPTEuODJt"
    assert (document["fCnt"], document["fPort"], document["devAddr"]) == (41, 1, "00b8f47a")
    assert document["object"]["bytes"] == 9.0
    assert document["object"]["transport"] == "udp"
    assert list(document["deviceInfo"])[-2:] == ["deviceClassEnabled", "tags"]


def test_the_devices_tags_do_not_hide_ours() -> None:
    tags = translated(message()).document["deviceInfo"]["tags"]

    assert tags == {
        "name": "tide gauge 7",
        "span_collection_id": "17dj5j4ce8bkci",
        "span_device_id": "17kl14hm46h4c2",
        "span_event": "upstreamMessage",
    }


def test_a_real_eui_of_the_device_is_used() -> None:
    assert translated(message(), SampleFacts((("devEui", "0016C001F153A14C"),))).dev_eui == "0016c001f153a14c"
    assert translated(message(), SampleFacts((("devEui", "unknown"),))).dev_eui == "3a87ffadd4b8f47a"
    assert real_eui("0016c001f153a14") == ""


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (catalogue.CiotConnect(origin=ORIGIN), Kind.JOIN),
        (catalogue.DeviceJoined(origin=ORIGIN), Kind.JOIN),
        (catalogue.DownstreamAck(origin=ORIGIN, state=DownlinkState.TRANSMITTED), Kind.TXACK),
        (catalogue.DownstreamAck(origin=ORIGIN, state=DownlinkState.NOT_ACKNOWLEDGED), Kind.ACK),
        (catalogue.DeviceStatus(origin=ORIGIN, margin=10), Kind.STATUS),
        (catalogue.DeviceLocation(origin=ORIGIN, latitude="0", longitude="-8.8"), Kind.LOCATION),
        (catalogue.ClientDisconnected(origin=ORIGIN), Kind.LOG),
    ],
)
def test_kinds(event: Event, kind: Kind) -> None:
    assert translated(event).kind is kind


def test_a_log_event_has_level_code_and_the_data_without_subscribers_digits() -> None:
    mismatch = translated(
        catalogue.ImsiMismatch(origin=ORIGIN, imsi="242016000000123", imei="357518080000128", expected_imsi="1")
    ).document
    failed = translated(catalogue.FirmwareStateChange(origin=ORIGIN, state=FirmwareState.UPDATE_FAILED)).document
    logged = translated(catalogue.NetworkLog(origin=ORIGIN, reason=NetworkLogReason.UPLINK_MIC)).document

    assert (mismatch["level"], mismatch["code"]) == ("ERROR", "OTAA")
    assert mismatch["context"]["imsi"] == "24201**********"
    assert mismatch["context"]["imei"] == "35751**********"
    assert (failed["level"], failed["code"]) == ("ERROR", "UNKNOWN")
    assert failed["description"].endswith(": UpdateFailed")
    assert failed["context"]["hint"] == FirmwareState.UPDATE_FAILED.hint
    assert (logged["level"], logged["code"]) == ("ERROR", "UPLINK_MIC")


def test_readers_up_to_4_14_get_integration_events_in_place_of_log_events() -> None:
    """The object has the data; a log event of LoRaWAN stays one."""
    facts = SampleFacts(integration_events=True)
    event = catalogue.ImsiMismatch(origin=ORIGIN, imsi="242016000000123", imei="357518080000128", expected_imsi="1")
    found = translated(event, facts)
    of_json = Parse(json_of(found), pb.IntegrationEvent())

    assert found.topic.endswith("/event/integration")
    assert (found.document["integrationName"], found.document["eventType"]) == ("span", "imsiMismatch")
    assert found.document["object"]["imsi"] == "24201**********"
    assert pb.IntegrationEvent.FromString(protobuf_of(found)) == of_json
    assert translated(catalogue.NetworkLog(origin=ORIGIN, reason=NetworkLogReason.UPLINK_MIC), facts).kind is Kind.LOG
    assert translated(message(), facts).kind is Kind.UP


def test_events_without_a_device_and_halves_of_messages_have_no_counterpart() -> None:
    dialect = ChirpstackDialect(SampleFacts())
    of_gateway = Origin(COLLECTION, DEVICE, GATEWAY)
    half = catalogue.GatewayUpstreamMessage(origin=of_gateway, bytes=1, message_id=SpanId(1))

    assert dialect.encode(activity(half)) == b""
    assert dialect.encode(activity(catalogue.GatewayConfigUpdate(origin=Origin(COLLECTION, None, GATEWAY)))) == b""
    assert {"gatewayUpstreamMessage", "gatewayDownstreamMessage"} < UNMAPPED


def test_every_event_of_ours_is_whole_in_json_and_the_same_in_protobuf() -> None:
    """All fields of the kind are there; protobuf holds what JSON holds."""
    kinds = set()
    for event in events():
        found = translate(activity(event), SampleFacts())
        if found is None:
            continue
        kinds.add(found.kind)
        read: dict[str, Any] = json.loads(json_of(found))
        assert set(read) - {"object"} == set(ALWAYS[found.kind].split())
        again = MESSAGES[found.kind].FromString(protobuf_of(found))
        assert again.device_info.dev_eui == found.dev_eui  # type: ignore[attr-defined]
        whole = MessageToDict(again, always_print_fields_with_no_presence=True)
        assert _same(whole, read), (whole, read)

    assert kinds == set(Kind) - {Kind.INTEGRATION}


def _same(whole: Any, read: Any) -> bool:
    """Compare what is in our JSON; times are written in another form, floats have 32 bits."""
    if isinstance(read, dict):
        return all(key in {"time", "nsTime"} or _same(whole.get(key), value) for key, value in read.items())
    if isinstance(read, list):
        return all(map(_same, whole, read))
    if isinstance(read, float):
        return bool(whole == pytest.approx(read))
    return bool(whole == read)


def test_an_event_keeps_its_id_however_often_it_is_written() -> None:
    first, again = translated(message()), translated(message())
    other = translate(activity(message(), identifier=77), SampleFacts())

    assert other is not None
    assert first.document == again.document
    assert first.document["deduplicationId"] != other.document["deduplicationId"]


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_772_435_704_000_000_000, "2026-03-02T07:15:04+00:00"),
        (1_772_435_704_500_000_000, "2026-03-02T07:15:04.500+00:00"),
        (1_772_435_704_500_100_000, "2026-03-02T07:15:04.500100+00:00"),
        (1_772_435_704_000_000_001, "2026-03-02T07:15:04.000000001+00:00"),
    ],
)
def test_times(time_ns: int, text: str) -> None:
    assert render_rfc3339(time_ns) == text


def test_a_line_of_a_stream_names_the_topic() -> None:
    line = orjson.loads(ChirpstackDialect(SampleFacts()).encode(activity(message())))

    assert line["topic"].endswith("/event/up")
    assert line["payload"] == translated(message()).document


def test_golden_vectors_of_protobuf() -> None:
    log = pb.LogEvent(level=pb.WARNING, code=pb.DOWNLINK_GATEWAY, description="TOO_LATE")
    log.time.FromSeconds(1_772_435_704)
    uplink = pb.UplinkEvent(f_cnt=41, f_port=1, data=b"\x01\x02")
    uplink.rx_info.add(gateway_id="12c75b61609dd97e", rssi=-90, snr=7.5)

    assert log.SerializeToString().hex() == "0a0608f8f194cd06180120082a08544f4f5f4c415445"
    assert uplink.SerializeToString().hex() == (
        "382940015202010262220a103132633735623631363039646439376530a6ffffffffffffffff013d0000f040"
    )
