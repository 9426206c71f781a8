"""Publications: an item of the hub as one PUBLISH packet, encoded once for all clients of a kind."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from span_events.dialects.chirpstack.encoding import json_of, protobuf_of
from span_events.dialects.chirpstack.event import Facts, translate
from span_events.events.activity import Activity
from span_events.events.message import Message
from span_events.fanout.subscriber import Dialect, Framing, Stream
from span_events.web.mqtt.topics import chirpstack_topic, event_topic, message_topic
from span_events.wire.mqtt.packets import Version
from span_events.wire.mqtt.replies import line, publish_3, publish_5
from span_events.wire.websocket import binary_frame


class Publications:
    """
    Writes items with their topics.

    Args:
        dialect: Writes the payload, and a newline behind it.
    """

    def __init__(self, dialect: Dialect, stream: Stream) -> None:
        self._dialect = dialect
        self._topic_of: Callable[[Any], bytes] = _topic_of_message if stream is Stream.MESSAGES else _topic_of_activity

    def encode(self, item: Activity | Message) -> bytes:
        """Return topic and payload."""
        return line(self._topic_of(item), self._dialect.encode(item)[:-1])


class ChirpstackPublications:
    """
    Writes events in ChirpStack's form with their topics.

    Args:
        protobuf: True for Protobuf, False for JSON.
    """

    def __init__(self, facts: Facts, *, protobuf: bool) -> None:
        self._facts = facts
        self._payload = protobuf_of if protobuf else json_of

    def encode(self, activity: Activity) -> bytes:
        """Return topic and payload of an event that has this form; patterns match no others."""
        event = translate(activity, self._facts)
        assert event is not None
        return line(chirpstack_topic(activity.event.origin, event), self._payload(event))


def _topic_of_message(message: Message) -> bytes:
    return message_topic(message.origin)


def _topic_of_activity(activity: Activity) -> bytes:
    return event_topic(activity.event)


@lru_cache(maxsize=256)
def framing(version: Version, *, websocket: bool, longest: int | None) -> Framing:
    """
    Return the one function that makes octets of a publication; clients that share it share the octets.

    Args:
        longest: Octets of a packet that the client takes; a longer publication is left out (MQTT 5, 3.1.2.11.4).
    """
    publish = publish_5 if version is Version.V5 else publish_3
    if longest is None:
        return (lambda publication: binary_frame(publish(publication))) if websocket else publish

    def fitting(publication: bytes) -> bytes:
        packet = publish(publication)
        if len(packet) > longest:
            return b""
        return binary_frame(packet) if websocket else packet

    return fitting
