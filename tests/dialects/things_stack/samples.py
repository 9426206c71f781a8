"""An event of each class of the catalogue, with every key and with the necessary ones only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from span_events import ids
from span_events.events.activity import Activity, Event, Key, Moment, Origin, SpanId
from span_events.events.catalogue import CATALOGUE, KEYS
from tests.bench.clock import START_NS

COLLECTION: Final = ids.parse("17dj5j4ce8bkci")
DEVICE: Final = ids.parse("17kl14hm46h4c2")
GATEWAY: Final = ids.parse("17eh0cf43jfgl0")
CAUSE: Final = ids.parse("17dh0cf43jfgl8")
SESSION: Final = ids.parse("17dh0cf43jfgl0")
ORIGIN: Final = Origin(COLLECTION, DEVICE)


def activity(event: Event, *, time_ns: int = START_NS, identifier: int = CAUSE + 1024) -> Activity:
    """Publish an event."""
    return Activity(identifier, time_ns, event)


def events() -> Iterator[Event]:
    """Yield events of every class: with all keys or the necessary ones, each reason, each kind of origin."""
    for kind in CATALOGUE.values():
        yield from events_of(kind)


def events_of(kind: type[Event]) -> Iterator[Event]:
    """Yield the events of a class."""
    origins = [ORIGIN, Origin(COLLECTION, DEVICE, GATEWAY), Origin(COLLECTION, None, GATEWAY), Origin(COLLECTION)]
    if not any(each.attribute == "from_collection" for each in KEYS[kind]):
        origins.append(Origin())
    for origin in origins:
        yield kind(origin=origin, **_values(kind, optional=False))
        values = _values(kind, optional=True) | {"correlation_id": CAUSE, "session_id": SESSION}
        yield kind(origin=origin, **values)
        for key in KEYS[kind]:
            for reason in key.reasons or ():
                yield kind(origin=origin, **(values | {key.attribute: reason}))


def _values(kind: type[Event], *, optional: bool) -> dict[str, Any]:
    fields = {each.name: each for each in dataclasses.fields(kind)}
    return {
        key.attribute: _value(key)
        for key in KEYS[kind]
        if optional or fields[key.attribute].default is dataclasses.MISSING
    }


def _value(key: Key) -> Any:
    if key.kind is SpanId:
        return COLLECTION
    if key.kind is Moment:
        return START_NS // 1_000_000
    if isinstance(key.kind, type) and issubclass(key.kind, StrEnum):
        return next(iter(key.kind))
    return {int: 7, float: 0.5, str: 'text "with" ünicode {reason} \x00'}[key.kind]
