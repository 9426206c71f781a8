"""
Scopes and filters: the events that a subscriber may see (`Scope`) and those that it requested (`Filter`).

Both are values that compare equal, so that subscribers with the same request share one group. Names,
patterns and severities are resolved against the catalogue when the request is read: matching an event
is a set look-up, and a user's regular expression never runs on traffic.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from span_events import ids
from span_events.errors import InvalidRequest
from span_events.events.activity import Event, Origin, Severity, reason_of, severity_of
from span_events.events.catalogue import CATALOGUE, KEYS, SEVERITIES, SPAN_NAMES
from span_events.events.expressions import MOST, names_matching

_NAMES: Final = tuple(CATALOGUE)
_MAX_VALUES: Final = 64
"""Upper bound of values of one query parameter."""
_LONGEST_TEXT: Final = 100
_REASONS: Final = sorted(
    {reason.value for keys in KEYS.values() for key in keys if key.reasons is not None for reason in key.reasons}
)


@dataclass(frozen=True, slots=True)
class Scope:
    """
    The part of the fleet that a stream shows: all collections, one collection, or one device or gateway of it.

    A device scope includes the collection: when the device moves, a stream of the old collection
    must not follow.
    """

    collection_id: int | None = None
    device_id: int | None = None
    gateway_id: int | None = None
    unattributed: bool = False
    """Beside one collection, also events of no collection, such as those of unknown addresses."""

    def covers(self, origin: Origin) -> bool:
        """Return whether the scope contains this origin."""
        if self.unattributed and origin.collection_id is None:
            return True
        return (
            (self.collection_id is None or self.collection_id == origin.collection_id)
            and (self.device_id is None or self.device_id == origin.device_id)
            and (self.gateway_id is None or self.gateway_id == origin.gateway_id)
        )


EVERYTHING: Final = Scope()
"""All collections, and events without a collection."""


class Wish(Protocol):
    """The events that a subscriber requested; equal wishes compare and hash equal."""

    def matches(self, event: Event) -> bool:
        """Return whether an event was requested."""


@dataclass(frozen=True, slots=True)
class Filter:
    """The events that a subscriber requested; a criterion that is ``None`` accepts every event."""

    names: frozenset[str] | None = None
    devices: frozenset[int] | None = None
    gateways: frozenset[int] | None = None
    severity: Severity | None = None
    """The least one, if some of the names have events below it as well."""
    reasons: frozenset[str] | None = None
    """Reasons, or states of firmware."""
    text: str | None = None
    """Lower case; any text of the event's data contains it."""
    of_devices: bool = False
    """Exclude events without a device."""

    def matches(self, event: Event) -> bool:
        """Return whether the event passes the filter."""
        return (
            (self.names is None or event.name in self.names)
            and (self.devices is None or event.origin.device_id in self.devices)
            and (self.gateways is None or event.origin.gateway_id in self.gateways)
            and (self.severity is None or severity_of(event) >= self.severity)
            and (self.reasons is None or reason_of(event) in self.reasons)
            and (self.text is None or _contains(event, self.text))
            and (not self.of_devices or event.origin.device_id is not None)
        )


PASS_ALL: Final = Filter()
"""The filter of a request without criteria: every event in scope."""


def parse_filter(
    *,
    events: Iterable[str] = (),
    severity: str | None = None,
    devices: Iterable[str] = (),
    gateways: Iterable[str] = (),
    reasons: Iterable[str] = (),
    text: str | None = None,
    span_only: bool = False,
    of_devices: bool = False,
    without: frozenset[str] = frozenset(),
) -> Filter:
    """
    Build a filter from query parameters.

    Args:
        events: Names, or regular expressions between slashes (``/^firmware/``); several are joined
            by *or*. A linear-time engine (RE2) runs them, over the catalogue only. One with ``!`` before it
            excludes what it names.
        severity: Least severity that passes (``error warning info debug``).
        devices: Span ids of devices.
        gateways: Span ids of gateways.
        reasons: Words of ``data.reason``.
        text: Part of any text in the event's data, whatever its case.
        span_only: Exclude the events that Span does not define.
        of_devices: Exclude events without a device.
        without: Names of events to exclude besides.

    Raises:
        InvalidRequest: A value is not valid; the message names the parameter and the value.
    """
    names: set[str] | None = None
    excluded = set(without)
    wishes = _at_most("event", events)
    if sum(len(each) for each in wishes if each.endswith("/")) > MOST:
        raise InvalidRequest(f"event: all expressions together have over {MOST} characters", field="event")
    for wish in wishes:
        if wish.startswith("!"):
            excluded |= _names_for(wish[1:])
        else:
            names = (names or set()) | _names_for(wish)
    if excluded:
        names = (set(CATALOGUE) if names is None else names) - excluded
    least = None if severity is None else _severity(severity)
    if least is not None:
        wanted = {name for name, event in CATALOGUE.items() if max(SEVERITIES[event]) >= least}
        names = wanted if names is None else names & wanted
    if span_only:
        names = set(SPAN_NAMES) if names is None else names & SPAN_NAMES
    varies = least is not None and any(min(SEVERITIES[CATALOGUE[name]]) < least for name in names or ())
    return Filter(
        names=None if names is None else frozenset(names),
        devices=_identifiers("device", devices),
        gateways=_identifiers("gateway", gateways),
        severity=least if varies else None,
        reasons=_reasons(reasons),
        text=_text(text),
        of_devices=of_devices,
    )


def _at_most(parameter: str, values: Iterable[str]) -> list[str]:
    listed = list(values)
    if len(listed) > _MAX_VALUES:
        raise InvalidRequest(f"{parameter} is given {len(listed)} times; at most {_MAX_VALUES}", field=parameter)
    return listed


def _names_for(wish: str) -> frozenset[str]:
    if len(wish) >= 2 and wish.startswith("/") and wish.endswith("/"):
        return _names_matching(wish[1:-1])
    if wish not in CATALOGUE:
        near = difflib.get_close_matches(wish, CATALOGUE, n=1)
        advice = f"did you mean {near[0]}?" if near else "GET /span/events/catalogue lists all names."
        raise InvalidRequest(f"event: there is no event {wish[:60]!r}", hint=advice, field="event")
    return frozenset({wish})


def _names_matching(pattern: str) -> frozenset[str]:
    names = names_matching(pattern, _NAMES)
    if not names:
        raise InvalidRequest(f"event: no event's name matches /{pattern[:60]}/", field="event")
    return names


def _severity(word: str) -> Severity:
    try:
        return Severity[word.upper()]
    except KeyError:
        words = " ".join(each.word for each in Severity)
        raise InvalidRequest(f"severity: {word[:20]!r} is not one of {words}", field="severity") from None


def _reasons(values: Iterable[str]) -> frozenset[str] | None:
    listed = _at_most("reason", values)
    for word in listed:
        if word not in _REASONS:
            near = difflib.get_close_matches(word, _REASONS, n=1)
            advice = f"did you mean {near[0]}?" if near else "GET /span/events/catalogue lists all reasons."
            raise InvalidRequest(f"reason: there is no reason {word[:60]!r}", hint=advice, field="reason")
    return frozenset(listed) if listed else None


def _text(text: str | None) -> str | None:
    if text is not None and not 1 <= len(text) <= _LONGEST_TEXT:
        raise InvalidRequest(f"text has {len(text)} characters; 1 to {_LONGEST_TEXT} can be searched", field="text")
    return None if text is None else text.lower()


def _contains(event: Event, text: str) -> bool:
    """Return whether any text of an event's data contains another, whatever its case."""
    return any(
        isinstance(value, str) and text in value.lower()
        for value in (getattr(event, each.attribute) for each in KEYS[type(event)])
    )


def _identifiers(parameter: str, values: Iterable[str]) -> frozenset[int] | None:
    listed = _at_most(parameter, values)
    return frozenset(ids.parse(each, what=parameter) for each in listed) if listed else None
