"""Content: the JSON of messages and events, in the dialect that an output asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from span_events.dialects.chirpstack.encoding import json_of, protobuf_of
from span_events.dialects.chirpstack.event import Facts, Translated, translate
from span_events.dialects.chirpstack.rules import Kind, kind_of
from span_events.dialects.cloudevents import CloudEventsDialect
from span_events.dialects.span import SpanDialect
from span_events.dialects.things_stack.json import JsonDialect
from span_events.events.activity import Activity
from span_events.events.message import Message
from span_events.outputs.base import Item
from span_events.registry.outputs import OutputConfig

MessageEncoder = Callable[[Message], bytes]
"""Writes a message as Span's OutputDataMessage."""


class Content:
    """
    The encoding of an output.

    Args:
        encode_message: Writes a message; the web, which owns Span's documents, provides it.
        host: Name of this host, for The Things Stack's events.
        facts: Names, tags and payloads, for ChirpStack's events.
    """

    def __init__(self, config: OutputConfig, encode_message: MessageEncoder, host: str, facts: Facts) -> None:
        self._facts = facts
        self._is_protobuf = config.format == "chirpstack-protobuf"
        self.is_chirpstack = config.format.startswith("chirpstack")
        self.is_activity = config.content == "activity"
        self._encode_message = encode_message
        self._dialect: SpanDialect | CloudEventsDialect | JsonDialect = SpanDialect(extended=True)
        self.media_type = "application/json"
        self.is_batched = True
        """True if one request holds a list of items."""
        if config.format == "cloudevents":
            self._dialect, self.media_type, self.is_batched = (
                CloudEventsDialect(),
                "application/cloudevents+json",
                False,
            )
        elif config.format == "things-stack":
            self._dialect, self.is_batched = JsonDialect(host), False
        elif self.is_chirpstack:
            self.is_batched = False
            if self._is_protobuf:
                self.media_type = "application/octet-stream"

    def accepts(self, item: Item) -> bool:
        """Return whether the dialect has a counterpart of an item."""
        return not self.is_chirpstack or (isinstance(item, Activity) and self._kind_of(item) is not None)

    def _kind_of(self, activity: Activity) -> Kind | None:
        return kind_of(activity.event, integration=self._facts.integration_events)

    def translated(self, item: Item) -> Translated | None:
        """Return an event in ChirpStack's form, with its kind and topic; None in every other dialect."""
        return translate(item, self._facts) if self.is_chirpstack and isinstance(item, Activity) else None

    def encode(self, item: Item) -> bytes:
        """Write one item."""
        event = self.translated(item)
        if event is not None:
            return protobuf_of(event) if self._is_protobuf else json_of(event)
        encoded = self._dialect.encode(item) if isinstance(item, Activity) else self._encode_message(item)
        return encoded.rstrip(b"\n")

    def body(self, items: Sequence[Item]) -> bytes:
        """Write the body of a request; Span's is an object with a list."""
        encoded = [self.encode(each) for each in items]
        if not self.is_batched:
            return encoded[0]
        return b'{"%s":[%s]}' % (b"events" if self.is_activity else b"messages", b",".join(encoded))
