"""Server-Sent Events (HTML Living Standard, section 9.2): fields around the JSON of another dialect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from span_events import ids
from span_events.events.activity import Activity
from span_events.events.catalogue import EventsDropped
from span_events.events.message import Message

RETRY: Final = b"retry: 2000\n\n"
"""First octets of a stream: milliseconds until a browser connects again."""
KEEPALIVE: Final = b": keepalive\n\n"
"""Comment on a silent stream, so that proxies do not close it."""
LIVE: Final = b'event: live\ndata: {"type":"live"}\n\n'
"""Sent where the past ends."""


class _Lines(Protocol):
    def encode(self, item: Activity, /) -> bytes: ...


class _MessageLines(Protocol):
    def encode(self, item: Message | Activity, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class SseDialect:
    """
    Writes an activity as one event: ``id`` is its ULID, ``event`` its name, ``data`` its JSON.

    The id of a gap is that of the last missing event, so that a client which resumes there misses nothing else.
    """

    lines: _Lines

    def encode(self, activity: Activity) -> bytes:
        """Write an activity."""
        event = activity.event
        identifier = activity.id
        if isinstance(event, EventsDropped) and event.last_id is not None:
            identifier = event.last_id
        return b"id: %b\nevent: %b\ndata: %b\n" % (
            ids.to_ulid(identifier).encode(),
            event.name.encode(),
            self.lines.encode(activity),
        )


@dataclass(frozen=True, slots=True)
class SseMessages:
    """Writes an upstream message as an event with the name ``message``, as browsers expect; gaps as above."""

    lines: _MessageLines

    def encode(self, message: Message | Activity) -> bytes:
        """Write a message, or a gap of the stream."""
        if isinstance(message, Activity):
            return SseDialect(self.lines).encode(message)
        return b"id: %b\ndata: %b\n" % (ids.to_ulid(message.id).encode(), self.lines.encode(message))


def end(reason: str) -> bytes:
    """Return the last event of a stream that the server ends."""
    return b'event: end\ndata: {"reason":"%b"}\n\n' % reason.encode()
