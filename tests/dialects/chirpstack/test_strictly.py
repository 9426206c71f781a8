"""ChirpStack's own client for Python reads every event of ours, with no field and no value unknown to it."""

from __future__ import annotations

from typing import Any, Final

from chirpstack_api import integration
from google.protobuf.json_format import Parse

from span_events.dialects.chirpstack.encoding import json_of, protobuf_of
from span_events.dialects.chirpstack.event import translate
from span_events.dialects.chirpstack.rules import Kind
from tests.dialects.chirpstack.facts import SampleFacts
from tests.dialects.things_stack.samples import activity, events

MESSAGES: Final[dict[Kind, Any]] = {
    Kind.UP: integration.UplinkEvent,
    Kind.JOIN: integration.JoinEvent,
    Kind.ACK: integration.AckEvent,
    Kind.TXACK: integration.TxAckEvent,
    Kind.LOG: integration.LogEvent,
    Kind.STATUS: integration.StatusEvent,
    Kind.LOCATION: integration.LocationEvent,
}


def test_every_event_is_read_strictly_and_is_the_same_in_both_encodings() -> None:
    kinds = set()
    for event in events():
        found = translate(activity(event), SampleFacts())
        if found is None:
            continue
        kinds.add(found.kind)
        message = MESSAGES[found.kind]
        of_json = Parse(json_of(found), message())
        of_protobuf = message.FromString(protobuf_of(found))

        assert of_json == of_protobuf
        assert of_json.device_info.dev_eui == found.dev_eui
        assert of_protobuf.SerializeToString(deterministic=True) == protobuf_of(found), "a field is unknown"

    assert kinds == MESSAGES.keys()
