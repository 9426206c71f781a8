"""The Things Stack's protobuf of events, read by a parser that was written from its tables."""

from __future__ import annotations

import pytest
from google.protobuf import json_format

from span_events.dialects.things_stack.errors import NO_IDENTIFIERS, validation
from span_events.dialects.things_stack.json import JsonDialect
from span_events.dialects.things_stack.protobuf import ProtobufDialect, status_of
from span_events.events.activity import Event
from span_events.events.catalogue import CATALOGUE
from tests.dialects.things_stack.samples import activity, events_of
from tests.web.things_stack.wire import POOL, message_of, unpacked

JSON = JsonDialect("host-1")
PROTOBUF = ProtobufDialect("host-1")


@pytest.mark.parametrize("kind", CATALOGUE.values(), ids=CATALOGUE)
def test_every_event_is_the_same_in_json_and_protobuf(kind: type[Event]) -> None:
    """The JSON is strict JSON of the message, so both decode to the same."""
    for event in events_of(kind):
        published = activity(event, time_ns=1_714_076_616_123_456_789)
        expected = message_of("Event")()
        json_format.Parse(JSON.encode(published), expected, descriptor_pool=POOL)
        found = message_of("Event").FromString(PROTOBUF.encode(published))
        assert unpacked_or_none(found) == unpacked_or_none(expected)
        again = message_of("Event").FromString(PROTOBUF.message(published).SerializeToString())
        assert unpacked_or_none(again) == unpacked_or_none(found)
        again.ClearField("data")
        found.ClearField("data")
        expected.ClearField("data")

        assert found == expected == again


def unpacked_or_none(event: object) -> object:
    """Return the data of an event; the octets of a map have no fixed order."""
    return unpacked(event.data) if event.HasField("data") else None  # type: ignore[attr-defined]


def test_a_redacted_event_has_neither_data_nor_relations() -> None:
    for event in events_of(CATALOGUE["imsiMismatch"]):
        found = PROTOBUF.message(activity(event), redacted=True)

        assert not found.HasField("data")
        assert not found.correlation_ids


def test_an_error_holds_its_causes() -> None:
    error = validation("a", "b", "C", NO_IDENTIFIERS).numbered("0" * 32)
    status = message_of("Status").FromString(status_of(error))
    details = unpacked(status.details[0])

    assert (status.code, status.message) == (3, "error:pkg/errors:validation (invalid `a`: b)")
    assert (details.name, details.code, details.correlation_id) == ("validation", 3, "0" * 32)
    assert dict(details.attributes) == {"field": "a", "name": "CValidationError", "reason": "b"}
    assert details.cause.name == "no_identifiers"
