"""CloudEvents 1.0: required attributes, extensions, and data."""

from __future__ import annotations

import orjson
from cloudevents.core.formats.json import JSONFormat

from span_events.dialects.cloudevents import CloudEventsDialect
from span_events.events.activity import Activity, Origin
from span_events.events.catalogue import ClientDisconnected, GatewayDisconnected, MessageRejected
from span_events.events.message import Transport
from span_events.events.reasons import DisconnectReason, GatewayReason, MessageRejectedReason

TIME_NS = 1_714_076_616_123_000_000


def written(event: ClientDisconnected | GatewayDisconnected | MessageRejected) -> dict[str, object]:
    """Write an event and read its JSON."""
    line = CloudEventsDialect().encode(Activity(1 << 40, TIME_NS, event))
    assert line.endswith(b"}\n")
    found: dict[str, object] = orjson.loads(line)
    return found


def test_an_event_of_a_device() -> None:
    """All required attributes, the subject, and our extensions, whose names are lower case letters only."""
    event = ClientDisconnected(
        origin=Origin(10, 20), correlation_id=1, session_id=2, reason=DisconnectReason.IDLE_TIMEOUT
    )
    found = written(event)

    assert found == {
        "specversion": "1.0",
        "id": found["id"],
        "source": "/span/collections/a",
        "subject": "devices/k",
        "type": "io.span-events.clientDisconnected",
        "time": "2024-04-25T20:23:36.123Z",
        "datacontenttype": "application/json",
        "severity": "info",
        "hint": DisconnectReason.IDLE_TIMEOUT.hint,
        "correlationid": "1",
        "sessionid": "2",
        "data": {"reason": "idleTimeout"},
    }
    assert all(name.isascii() and name.isalnum() and name == name.lower() for name in found)


def test_the_sdk_of_cloudevents_reads_it() -> None:
    """It checks the required attributes, their types and the names of the extensions."""
    event = ClientDisconnected(origin=Origin(10, 20), session_id=2, reason=DisconnectReason.IDLE_TIMEOUT)
    read = JSONFormat().read(None, CloudEventsDialect().encode(Activity(1 << 40, TIME_NS, event)))

    assert (read.get_type(), read.get_subject()) == ("io.span-events.clientDisconnected", "devices/k")
    assert read.get_data() == {"reason": "idleTimeout"}
    assert read.get_extension("severity") == "info"


def test_events_of_gateways_and_of_nobody() -> None:
    gateway = GatewayDisconnected(origin=Origin(10, None, 20), reason=GatewayReason.CLOSED)
    nobody = MessageRejected(origin=Origin(), reason=MessageRejectedReason.UNKNOWN_ADDRESS, transport=Transport.UDP)

    assert written(gateway)["subject"] == "gateways/k"
    assert "subject" not in written(nobody)
    assert written(nobody)["source"] == "/span"
