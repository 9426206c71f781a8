"""Span's JSON, octet by octet."""

from __future__ import annotations

import orjson

from span_events import ids
from span_events.dialects.span import PLAIN, SpanDialect
from span_events.events.activity import Activity, Event, Origin, SpanId
from span_events.events.catalogue import ClientConnected, ClientDisconnected, FirmwareStateChange, UpstreamMessage
from span_events.events.message import Transport
from span_events.events.reasons import DisconnectReason, FirmwareState
from tests.bench.clock import START_NS

COLLECTION = ids.parse("17dj5j4ce8bkci")
DEVICE = ids.parse("17kl14hm46h4c2")
ORIGIN = Origin(COLLECTION, DEVICE)
SPAN_ONLY = SpanDialect(span_only=True)
SAMPLE = """\
{"collectionId":"17dj5j4ce8bkci","data":{"id":"certificate"},"deviceId":"17kl14hm46h4c2",\
"event":"clientConnected","time":"2024-04-25 20:23:36"}
{"collectionId":"17dj5j4ce8bkci","data":{"bytes":"9","transport":"dtls"},"deviceId":"17kl14hm46h4c2",\
"event":"upstreamMessage","time":"2024-04-25 20:23:36"}
{"collectionId":"17dj5j4ce8bkci","deviceId":"17kl14hm46h4c2",\
"event":"clientDisconnected","time":"2024-04-25 20:23:37"}
"""


def activity(event: Event, second: int = 0) -> Activity:
    """Publish an event at the moment of the sample."""
    return Activity(ids.parse("17dh0cf43jfgl8"), START_NS + second * 10**9, event)


def test_the_published_sample_comes_out_byte_for_byte() -> None:
    """The session of a DTLS client on Span's activity-events page, in its order."""
    connected = ClientConnected(
        origin=ORIGIN,
        identified_by="certificate",
        transport=Transport.DTLS,
        remote_address="10.0.0.1:5",
        handshake_ms=3,
    )
    message = UpstreamMessage(origin=ORIGIN, bytes=9, transport=Transport.DTLS, message_id=SpanId(7))
    disconnected = ClientDisconnected(origin=ORIGIN, reason=DisconnectReason.CLOSE_NOTIFY, transport=Transport.DTLS)
    lines = [
        SPAN_ONLY.encode(activity(connected)),
        SPAN_ONLY.encode(activity(message)),
        SPAN_ONLY.encode(activity(disconnected, second=1)),
    ]

    assert b"".join(lines).decode() == SAMPLE


def test_our_data_keys_are_added_where_span_only_is_not_asked_for() -> None:
    """Clients accept unknown keys in data; the envelope stays Span's."""
    event = UpstreamMessage(origin=ORIGIN, bytes=9, transport=Transport.UDP, message_id=SpanId(25))

    assert PLAIN.encode(activity(event)) == (
        b'{"collectionId":"17dj5j4ce8bkci","data":{"bytes":"9","messageId":"11","transport":"udp"},'
        b'"deviceId":"17kl14hm46h4c2","event":"upstreamMessage","time":"2024-04-25 20:23:36"}\n'
    )


def test_extended_adds_id_correlation_severity_and_hint_in_order() -> None:
    """Keys stay in alphabetical order."""
    event = ClientDisconnected(
        origin=Origin(COLLECTION, DEVICE, 24),
        correlation_id=1,
        session_id=2,
        reason=DisconnectReason.IDLE_TIMEOUT,
        idle_seconds=900,
    )

    assert SpanDialect(extended=True).encode(activity(event)) == (
        b'{"collectionId":"17dj5j4ce8bkci","correlationIds":["cause:1","session:2"],'
        b'"data":{"idleSeconds":"900","reason":"idleTimeout"},"deviceId":"17kl14hm46h4c2",'
        b'"event":"clientDisconnected","gatewayId":"10","hint":"'
        + DisconnectReason.IDLE_TIMEOUT.hint.encode()
        + b'","id":"17dh0cf43jfgl8","sessionId":"2","severity":"info","time":"2024-04-25 20:23:36",'
        b'"timestamp":"2024-04-25T20:23:36.000Z"}\n'
    )


def test_the_severity_is_that_of_the_state_where_it_has_one() -> None:
    """An update that failed is an error; its progress is not."""
    written = [
        SpanDialect(extended=True).encode(activity(FirmwareStateChange(origin=Origin(COLLECTION, DEVICE), state=each)))
        for each in (FirmwareState.DOWNLOADING, FirmwareState.TIMED_OUT, FirmwareState.UPDATE_FAILED)
    ]

    assert [orjson.loads(each)["severity"] for each in written] == ["info", "warning", "error"]


def test_an_unattributed_event_has_no_ids() -> None:
    """Nothing is known, so nothing is said."""
    event = UpstreamMessage(origin=Origin(), bytes=1, transport=Transport.UDP)

    assert PLAIN.encode(activity(event)) == (
        b'{"data":{"bytes":"1","transport":"udp"},"event":"upstreamMessage","time":"2024-04-25 20:23:36"}\n'
    )


class Named:
    """Names as a directory has them."""

    def collection(self, identifier: int) -> str:
        return "field" if identifier == COLLECTION else ""

    def device(self, identifier: int) -> str:
        return "pump" if identifier == DEVICE else ""


def test_extended_names_collection_and_device() -> None:
    """The tag ``name``; without it the key is absent."""
    dialect = SpanDialect(extended=True, names=Named())
    named, other = (
        orjson.loads(dialect.encode(activity(UpstreamMessage(origin=each, bytes=1, transport=Transport.UDP))))
        for each in (ORIGIN, Origin(1, 2))
    )

    assert (named["collectionName"], named["deviceName"]) == ("field", "pump")
    assert list(named) == sorted(named)
    assert not {"collectionName", "deviceName"} & other.keys()
