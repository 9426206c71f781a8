"""
Topics, and what a client's filters ask of the hub.

Messages have the topics ``COLLECTION/DEVICE``, as in Span's broker, events ``activity/COLLECTION/DEVICE/EVENT``. For an
event of a gateway, its id stands for the device's, and 0 where there is none. Events of devices have a second topic,
``application/COLLECTION/device/DEVEUI/event/TYPE``, with the payload of ChirpStack's MQTT integration. A wildcard at
the first level means messages only: clients that were written for Span subscribe to ``#`` and expect nothing else.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from span_events import ids
from span_events.dialects.chirpstack.event import Facts, Translated, dev_eui_of
from span_events.dialects.chirpstack.identity import real_eui
from span_events.dialects.chirpstack.rules import Kind, kind_of
from span_events.dialects.span import render_id
from span_events.errors import InvalidRequest
from span_events.events.activity import Event, Origin
from span_events.events.catalogue import CATALOGUE
from span_events.events.filters import EVERYTHING, PASS_ALL, Scope, Wish
from span_events.fanout.subscriber import Scopes, Stream
from span_events.registry.directory import Directory
from span_events.wire.mqtt.filters import ALL, SINGLE, levels_of
from span_events.wire.mqtt.reasons import PacketRefused, Reason

_ACTIVITY: Final = "activity"
_APPLICATION: Final = "application"
_TOPICS: Final = 8_192
"""Topics in memory, since ids are slow to write."""
_KINDS: Final = [each.value for each in Kind]
_FORMS: Final = (
    "topics are COLLECTION/DEVICE for messages, activity/COLLECTION/DEVICE/EVENT for events, and"
    " application/COLLECTION/device/DEVEUI/event/TYPE for events in ChirpStack's form"
)


class Form(Enum):
    """The forms of topics."""

    MESSAGE = auto()
    ACTIVITY = auto()
    CHIRPSTACK = auto()

    @property
    def stream(self) -> Stream:
        """The stream of the hub with these topics."""
        return Stream.MESSAGES if self is Form.MESSAGE else Stream.ACTIVITIES


def message_topic(origin: Origin) -> bytes:
    """Return the topic of a device's messages."""
    return _topic_of_message(origin.collection_id or 0, origin.device_id or 0)


def event_topic(event: Event) -> bytes:
    """Return the topic of an event."""
    origin = event.origin
    return _topic_of_event(origin.collection_id or 0, origin.device_id or origin.gateway_id or 0, event.name)


@lru_cache(maxsize=_TOPICS)
def _topic_of_message(collection: int, device: int) -> bytes:
    return f"{render_id(collection)}/{render_id(device)}".encode()


@lru_cache(maxsize=_TOPICS)
def _topic_of_event(collection: int, subject: int, name: str) -> bytes:
    return f"{_ACTIVITY}/{render_id(collection)}/{render_id(subject)}/{name}".encode()


def chirpstack_topic(origin: Origin, event: Translated) -> bytes:
    """Return the topic of an event in ChirpStack's form."""
    return (
        f"{_APPLICATION}/{render_id(origin.collection_id or 0)}/device/{event.dev_eui}/event/{event.kind.value}"
    ).encode()


@dataclass(frozen=True, slots=True)
class Pattern:
    """The topics of a filter; None stands for any value."""

    form: Form
    collection: int | None
    subject: int | None = None
    """A device or gateway; 0 for events of neither."""
    event: str | None = None
    """Name of an event, or type of one in ChirpStack's form."""
    dev_eui: str | None = None
    """EUI-64 of a device, in ChirpStack's form."""

    def matches(self, event: Event) -> bool:
        """Return whether the topic of an event is one of these."""
        origin = event.origin
        return (
            (self.collection is None or self.collection == (origin.collection_id or 0))
            and (self.subject is None or self.subject == (origin.device_id or origin.gateway_id or 0))
            and (self.event is None or self.event == event.name)
        )


@dataclass(frozen=True, slots=True)
class _Topics:
    """The wish for events whose topics match."""

    patterns: frozenset[Pattern]

    def matches(self, event: Event) -> bool:
        """Return whether an event was requested."""
        return any(each.matches(event) for each in self.patterns)


@dataclass(frozen=True, slots=True)
class _ChirpstackTopics:
    """The wish for events in ChirpStack's form whose topics match; most events of gateways have no such form."""

    patterns: frozenset[Pattern]
    facts: Facts

    def matches(self, event: Event) -> bool:
        """Return whether an event was requested."""
        kind = kind_of(event, integration=self.facts.integration_events)
        device_id = event.origin.device_id
        if kind is None or device_id is None:
            return False
        return any(
            (each.event is None or each.event == kind.value)
            and (each.collection is None or each.collection == event.origin.collection_id)
            and (each.dev_eui is None or each.dev_eui == dev_eui_of(device_id, self.facts))
            for each in self.patterns
        )


def pattern_of(text: str, reach: Scope, directory: Directory) -> Pattern | None:
    """
    Read a topic filter; None if it is for topics that begin with ``$``, of which there are none.

    Args:
        reach: What the client may see.

    Raises:
        PacketRefused: The filter is not valid, can match no topic, or goes beyond the client's reach.
    """
    levels = levels_of(text)
    if levels[0].startswith("$"):
        return None
    if levels[0] == _APPLICATION:
        return _located(_within(_chirpstack(levels[1:], text), reach, text), directory, text)
    is_activity = levels[0] == _ACTIVITY
    collection, subject, *event = _filled(levels[is_activity:], 3 if is_activity else 2, text)
    if is_activity and event[0] != SINGLE:
        _check_name(event[0], CATALOGUE, "event", text)
    found = Pattern(
        Form.ACTIVITY if is_activity else Form.MESSAGE,
        _number(collection, "collection", text),
        _number(subject, "device", text),
        event[0] if event and event[0] != SINGLE else None,
    )
    return _located(_within(found, reach, text), directory, text)


def request_of(patterns: Collection[Pattern], reach: Scope, facts: Facts) -> tuple[Scopes, Wish]:
    """
    Return the scopes and the wish of a stream: together they are the topics of all the patterns.

    Args:
        patterns: Of one form, at least one.
    """
    scopes = {scope for each in patterns for scope in _scopes_of(each, reach)}
    if EVERYTHING in scopes:
        scopes = {EVERYTHING}
    whole = {scope.collection_id for scope in scopes if scope.device_id is None and scope.gateway_id is None}
    narrowest = [
        scope
        for scope in scopes
        if scope.collection_id not in whole or (scope.device_id is None and scope.gateway_id is None)
    ]
    return tuple(sorted(narrowest, key=_order)), _wish_of(patterns, facts)


def _wish_of(patterns: Collection[Pattern], facts: Facts) -> Wish:
    if any(each.form is Form.CHIRPSTACK for each in patterns):
        return _ChirpstackTopics(frozenset(patterns), facts)
    is_exact = all(each.event is None and each.subject is None and each.collection != 0 for each in patterns)
    return PASS_ALL if is_exact else _Topics(frozenset(patterns))


def _order(scope: Scope) -> tuple[int, int, int]:
    return scope.collection_id or 0, scope.device_id or 0, scope.gateway_id or 0


def _filled(levels: list[str], count: int, text: str) -> list[str]:
    """Return exactly as many levels as topics have, with ``#`` written as levels of ``+``."""
    if levels[-1:] == [ALL]:
        levels = levels[:-1] + [SINGLE] * (count + 1 - len(levels))
    if len(levels) != count:
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"{text!r} matches no topic: {_FORMS}")
    return levels


def _chirpstack(levels: list[str], text: str) -> Pattern:
    """Read the levels behind ``application``."""
    collection, device, dev_eui, event, kind = _filled(levels, 5, text)
    if device not in (SINGLE, "device") or event not in (SINGLE, "event"):
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"{text!r} matches no topic: {_FORMS}")
    if dev_eui not in (SINGLE, real_eui(dev_eui)):
        raise PacketRefused(
            Reason.TOPIC_FILTER_INVALID,
            f"{text!r}: the EUI-64 of a device has 16 hexadecimal digits, a to f in lower case",
        )
    if kind != SINGLE:
        _check_name(kind, _KINDS, "type of event in ChirpStack's form", text)
    return Pattern(
        Form.CHIRPSTACK,
        _number(collection, "collection", text),
        event=None if kind == SINGLE else kind,
        dev_eui=None if dev_eui == SINGLE else dev_eui,
    )


def _number(level: str, what: str, text: str) -> int | None:
    if level == SINGLE:
        return None
    if level == "0":
        return 0
    try:
        return ids.parse(level, what=what)
    except InvalidRequest as exc:
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"{text!r}: {exc.detail}; {_FORMS}") from None


def _check_name(name: str, known: Iterable[str], what: str, text: str) -> None:
    names = list(known)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        advice = f"; did you mean {near[0]}?" if near else ""
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"{text!r}: there is no {what} {name[:60]!r}{advice}")


def _within(pattern: Pattern, reach: Scope, text: str) -> Pattern:
    """Narrow a pattern to a client's reach."""
    collection, subject = pattern.collection, pattern.subject
    is_beyond = (
        (reach.collection_id is not None and collection not in (None, reach.collection_id))
        or (reach.device_id is not None and subject not in (None, reach.device_id))
        or (reach.gateway_id is not None and pattern.form is not Form.ACTIVITY)
    )
    if is_beyond:
        raise PacketRefused(
            Reason.NOT_AUTHORIZED, f"{text!r} is beyond the reach of this user name (a collection's id, or *) and token"
        )
    return replace(
        pattern,
        collection=collection if reach.collection_id is None else reach.collection_id,
        subject=subject if reach.device_id is None else None,
    )


def _located(pattern: Pattern, directory: Directory, text: str) -> Pattern:
    """Make sure that a pattern names things that exist, and find the collection of a device or gateway."""
    collection, subject = pattern.collection, pattern.subject
    if collection and collection not in directory.collections:
        raise PacketRefused(Reason.TOPIC_FILTER_INVALID, f"{text!r}: there is no collection {ids.render(collection)}")
    if not subject:
        return pattern
    found = directory.devices.get(subject) or directory.gateways.get(subject)
    if found is None or collection not in (None, found.collection.id):
        raise PacketRefused(
            Reason.TOPIC_FILTER_INVALID, f"{text!r}: there is no device or gateway {ids.render(subject)} there"
        )
    return replace(pattern, collection=found.collection.id)


def _scopes_of(pattern: Pattern, reach: Scope) -> Scopes:
    """Return the narrowest scopes that contain the topics of a pattern."""
    collection, subject = pattern.collection, pattern.subject
    if reach.device_id is not None or reach.gateway_id is not None or not collection:
        return (reach,)
    if not subject:
        return (Scope(collection),)
    if pattern.form is Form.MESSAGE:
        return (Scope(collection, device_id=subject),)
    return Scope(collection, device_id=subject), Scope(collection, gateway_id=subject)
