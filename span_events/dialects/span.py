"""
Span's JSON: one object per line, keys in alphabetical order, no spaces, absent keys omitted.

Without ``extended`` the bytes are exactly those that Span publishes; with it each object also has
``id``, ``correlationIds``, ``severity`` and ``hint``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson

from span_events import ids
from span_events.events.activity import Activity, Event, Moment, SpanId, hint_of, severity_of
from span_events.events.catalogue import KEYS

KEEPALIVE: Final = b'{"type":"keepalive"}\n'
"""Sent on a silent stream; Span's own tools skip it."""
LIVE: Final = b'{"type":"live"}\n'
"""Sent where replayed history ends (extended streams only)."""


class Names(Protocol):
    """Finds names that people have given, the tag ``name``; empty for none."""

    def collection(self, identifier: int) -> str:
        """Return the name of a collection."""

    def device(self, identifier: int) -> str:
        """Return the name of a device."""


@dataclass(frozen=True, slots=True)
class SpanDialect:
    """
    Span's JSON, plain or with our additions.

    Args:
        extended: Add identifiers, names, severity, hint and the time in milliseconds.
        span_only: Leave out the data keys that Span does not have.
        names: Finds the names of collections and devices; None leaves them out.
    """

    extended: bool = False
    span_only: bool = False
    names: Names | None = None

    def encode(self, activity: Activity) -> bytes:
        """Write an activity as one line."""
        event = activity.event
        origin = event.origin
        line: dict[str, object] = {}  # filled in alphabetical order, which orjson keeps
        if origin.collection_id is not None:
            line["collectionId"] = render_id(origin.collection_id)
            if self.extended and self.names is not None and (name := self.names.collection(origin.collection_id)):
                line["collectionName"] = name
        if self.extended:
            line["correlationIds"] = correlation_ids(activity)
        data = data_of(event, span_only=self.span_only)
        if data:
            line["data"] = data
        if origin.device_id is not None:
            line["deviceId"] = render_id(origin.device_id)
            if self.extended and self.names is not None and (name := self.names.device(origin.device_id)):
                line["deviceName"] = name
        line["event"] = event.name
        if origin.gateway_id is not None:
            line["gatewayId"] = render_id(origin.gateway_id)
        if self.extended:
            line["hint"] = hint_of(event)
            line["id"] = ids.render(activity.id)
            if event.session_id is not None:
                line["sessionId"] = ids.render(event.session_id)
            line["severity"] = severity_of(event).word
        line["time"] = render_time(activity.time_ns // 1_000_000_000)
        if self.extended:
            line["timestamp"] = render_timestamp(activity.time_ns)
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


PLAIN: Final = SpanDialect()
"""The encoding that Span's clients expect, with our additional events and data keys."""

render_id = lru_cache(maxsize=65536)(ids.render)
"""`ids.render` for the ids of collections, devices and gateways, which repeat often."""


@lru_cache(maxsize=64)
def render_time(second: int) -> str:
    """Write a Unix second as Span does: ``YYYY-MM-DD HH:MM:SS``, UTC."""
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S")


def render_timestamp(time_ns: int) -> str:
    """Write a time as RFC 3339 with milliseconds, UTC."""
    second, nanosecond = divmod(time_ns, 1_000_000_000)
    return f"{render_time(second).replace(' ', 'T')}.{nanosecond // 1_000_000:03}Z"


def data_of(event: Event, *, span_only: bool = False) -> Mapping[str, str]:
    """
    Render the data of an event: text only, absent keys omitted.

    Args:
        span_only: Leave out the keys that Span does not have.
    """
    return (_SPAN_READERS if span_only else _READERS)[event.__class__](event)


def _render_moment(moment: Moment) -> str:
    return render_time(moment // 1000)


def _rendering(kind: Any) -> str:
    """Return the expression that writes ``value``, of a type, as text."""
    if kind is SpanId:
        return "render_id(value)"
    if kind is Moment:
        return "render_moment(value)"
    if kind is int:
        return "str(value)"
    if kind is float:
        return "format(value, '.3g')"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "value._value_"
    assert kind is str, f"no rendering for {kind}"
    return "value"


Reader = Callable[[Event], dict[str, str]]


def _reader_of(event: type[Event], *, extensions: bool) -> Reader:
    """
    Compile the function that renders the data of an event class.

    The catalogue has all that a loop over the keys would look up for each event, which takes twice as long.
    """
    lines = ["def read(event):", "    data = {}"]
    for key in KEYS[event]:
        if extensions or not key.extension:
            lines.append(f"    value = event.{key.attribute}")
            lines.append(f"    if value is not None: data[{key.name!r}] = {_rendering(key.kind)}")
    names: dict[str, Any] = {"render_id": ids.render, "render_moment": _render_moment}
    exec("\n".join([*lines, "    return data"]), names)  # noqa: S102  # of the catalogue's own names and types
    reader: Reader = names["read"]
    return reader


_READERS: Final = {event: _reader_of(event, extensions=True) for event in KEYS}
_SPAN_READERS: Final = {event: _reader_of(event, extensions=False) for event in KEYS}


def correlation_ids(activity: Activity) -> list[str]:
    """List the correlation ids of an activity: ``cause:ID`` (message or API call) and ``session:ID``."""
    event = activity.event
    found = []
    if event.correlation_id is not None:
        found.append(f"cause:{ids.render(event.correlation_id)}")
    if event.session_id is not None:
        found.append(f"session:{ids.render(event.session_id)}")
    return found
