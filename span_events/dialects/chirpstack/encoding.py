"""ChirpStack's octets of an event: JSON and protobuf of a body, and the lines of a stream."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import orjson
from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message

from span_events.dialects.chirpstack.event import Facts, Translated, translate
from span_events.dialects.chirpstack.rules import Kind
from span_events.events.activity import Activity
from span_events.proto import chirpstack_pb2 as pb

MESSAGES: Final[MappingProxyType[Kind, type[Message]]] = MappingProxyType(
    {
        Kind.UP: pb.UplinkEvent,
        Kind.JOIN: pb.JoinEvent,
        Kind.ACK: pb.AckEvent,
        Kind.TXACK: pb.TxAckEvent,
        Kind.LOG: pb.LogEvent,
        Kind.STATUS: pb.StatusEvent,
        Kind.LOCATION: pb.LocationEvent,
        Kind.INTEGRATION: pb.IntegrationEvent,
    }
)
"""Messages of the kinds of events."""


def json_of(event: Translated) -> bytes:
    """Return an event as ChirpStack's JSON."""
    return orjson.dumps(event.document)


def protobuf_of(event: Translated) -> bytes:
    """Return an event as ChirpStack's protobuf, with the content of `json_of`."""
    return ParseDict(event.document, MESSAGES[event.kind]()).SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class ChirpstackDialect:
    """
    Writes an activity as one line: ``topic`` has the kind of event, ``payload`` is the JSON of ChirpStack.

    A body of ChirpStack does not name its kind; ``mosquitto_sub -F %J`` writes lines of the same form.
    """

    facts: Facts

    def encode(self, activity: Activity) -> bytes:
        """Write an activity; empty if ChirpStack has no counterpart."""
        event = translate(activity, self.facts)
        if event is None:
            return b""
        return orjson.dumps({"topic": event.topic, "payload": event.document}, option=orjson.OPT_APPEND_NEWLINE)
