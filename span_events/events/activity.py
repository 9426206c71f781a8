"""
Events and activities: the values that travel from the fleet to subscribers.

An *event* names a happening and its origin. The bus turns an event into an *activity*: it adds an identifier
and a time. This module uses no clock and no socket.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from types import MappingProxyType, NoneType
from typing import Any, ClassVar, Final, NewType, Union, get_args, get_origin, get_type_hints

from span_events.values import quick

SpanId = NewType("SpanId", int)
"""An identifier; a dialect writes it as text."""
Moment = NewType("Moment", int)
"""A time in Unix milliseconds; a dialect writes it as text."""


class Severity(IntEnum):
    """Urgency of an event for a reader."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40

    @property
    def word(self) -> str:
        """The name as streams and queries spell it."""
        return self.name.lower()


class Reason(StrEnum):
    """
    Base of the closed sets of reasons; a member is ``value, hint`` or ``value, hint, severity``.

    The hint is one sentence: the meaning and the next thing to try. A severity overrides that of the event.
    """

    hint: str
    severity: Severity | None

    def __new__(cls, value: str, hint: str, severity: Severity | None = None) -> Reason:
        """Make a member of its word, its hint and perhaps its severity."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.hint = hint
        member.severity = severity
        return member


@dataclass(frozen=True, slots=True)
class Origin:
    """
    Whom an event belongs to.

    ``collection_id`` is absent only when nothing is known about the cause.
    """

    collection_id: int | None = None
    device_id: int | None = None
    gateway_id: int | None = None


UNATTRIBUTED: Final = Origin()
"""Origin of an event whose device, gateway and collection are unknown; only tokens for ``/`` see such an event."""


def key(meaning: str, *, name: str = "", extension: bool = False, optional: bool = False) -> Any:
    """
    Declare a key of an event's ``data``.

    Args:
        meaning: Text for people, with the unit.
        name: The key, where it is not the attribute's name in camel case.
        extension: The key is ours, not Span's: left out with ``profile=span``.
        optional: The key may be absent; without this the caller must give it.
    """
    metadata = MappingProxyType({"meaning": meaning, "name": name, "extension": extension})
    if optional or extension:
        return field(default=None, metadata=metadata)
    return field(metadata=metadata)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    Base class of all events; the subclasses are in `catalogue`.

    ``correlation_id`` names the received message or API call that caused the event, ``session_id`` ties the
    events of one connection together.
    """

    name: ClassVar[str]
    severity: ClassVar[Severity] = Severity.INFO
    """Severity unless the reason or state has one of its own; see `severity_of`."""
    hint: ClassVar[str]
    extension: ClassVar[bool] = False

    origin: Origin
    correlation_id: int | None = None
    session_id: int | None = None


@quick
@dataclass(frozen=True, slots=True)
class Activity:
    """An event as it was published: with an identifier and a time (Unix nanoseconds)."""

    id: int
    time_ns: int
    event: Event


@dataclass(frozen=True, slots=True)
class Key:
    """One key of an event's data, as documented and as rendered."""

    name: str
    attribute: str
    meaning: str
    extension: bool
    optional: bool
    reasons: type[Reason] | None
    kind: Any
    """Type of the value, `SpanId` and `Moment` included; a dialect writes each in its own way."""


def keys_of(event: type[Event]) -> tuple[Key, ...]:
    """Return the keys of an event class in alphabetical order, as JSON writes them."""
    hints = get_type_hints(event)
    keys = []
    for member in dataclasses.fields(event):
        if "meaning" not in member.metadata:
            continue
        kind, optional = _unwrap(hints[member.name])
        keys.append(
            Key(
                name=member.metadata["name"] or _camel(member.name),
                attribute=member.name,
                meaning=member.metadata["meaning"],
                extension=member.metadata["extension"],
                optional=optional,
                reasons=kind if isinstance(kind, type) and issubclass(kind, Reason) else None,
                kind=kind,
            )
        )
    return tuple(sorted(keys, key=lambda each: each.name))


def hint_of(event: Event) -> str:
    """Return the hint of an event: that of its reason or state if there is one, else that of its class."""
    reason = reason_of(event)
    return reason.hint if reason is not None and reason.hint else event.hint


def severity_of(event: Event) -> Severity:
    """Return the severity of an event: that of its reason or state if there is one, else that of its class."""
    reason = reason_of(event)
    return event.severity if reason is None or reason.severity is None else reason.severity


def severities_of(event: type[Event], keys: tuple[Key, ...]) -> list[Severity]:
    """List the possible severities of an event class; the default comes first."""
    reasons = [reason for key in keys if key.reasons is not None for reason in key.reasons]
    own = {each.severity for each in reasons if each.severity is not None}
    return [event.severity, *sorted(own - {event.severity})]


def reason_of(event: Event) -> Reason | None:
    """Return the reason of an event, or the state of firmware."""
    reason = getattr(event, "reason", None) or getattr(event, "state", None)
    return reason if isinstance(reason, Reason) else None


def _unwrap(kind: Any) -> tuple[Any, bool]:
    """Split ``X | None`` into X and True."""
    if get_origin(kind) is Union or type(kind).__name__ == "UnionType":
        (inner,) = (each for each in get_args(kind) if each is not NoneType)
        return inner, True
    return kind, False


def _camel(attribute: str) -> str:
    head, *tail = attribute.split("_")
    return head + "".join(word.capitalize() for word in tail)
