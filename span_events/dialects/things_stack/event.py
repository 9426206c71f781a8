"""Parts of an event that JSON and protobuf have in common: entities, rights, failures, correlation ids, time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from span_events import ids
from span_events.dialects import span
from span_events.dialects.things_stack.errors import ErrorDetails
from span_events.dialects.things_stack.rules import Rule
from span_events.events.activity import Activity, Event, Origin, hint_of
from span_events.events.catalogue import (
    CATALOGUE,
    DeviceMoved,
    DownstreamFailed,
    DownstreamMessage,
    DownstreamQueued,
    GatewayDownstreamMessage,
    GatewayUpstreamMessage,
    UpstreamMessage,
    meaning_of,
)
from span_events.events.message import Transport

VALUE: Final = "type.googleapis.com/google.protobuf.Value"
CAUSE: Final = "cause"
"""Prefix of the correlation id that all events of one received message or API call share."""
_NAMESPACE: Final = "span"
_MESSAGES: Final[Mapping[type[Event], str]] = {
    **dict.fromkeys((DownstreamMessage, DownstreamQueued, DownstreamFailed, GatewayDownstreamMessage), "as:downlink"),
    UpstreamMessage: "as:up",
    GatewayUpstreamMessage: "gs:uplink",
}
"""Prefix of the correlation id of the message that an event is about."""


# ---- whose -----------------------------------------------------------------------------------


def entities_of(event: Event, rule: Rule) -> tuple[Origin, ...]:
    """
    List the entities of an event; each origin names exactly one.

    The fields of an origin decide: a gateway, a device, or nothing but a collection, which is an application.
    """
    if isinstance(event, DeviceMoved):
        device = event.origin.device_id
        return (Origin(int(event.from_collection), device), Origin(int(event.to_collection), device))
    return entities_at(event.origin, of_gateway=rule.of_gateway)


def entities_at(origin: Origin, *, of_gateway: bool) -> tuple[Origin, ...]:
    """List the entities of all events but `DeviceMoved`."""
    collection, device = origin.collection_id, origin.device_id
    if collection is None:
        return ()
    if of_gateway and origin.gateway_id is not None:
        gateway = Origin(collection, None, origin.gateway_id)
        return (gateway,) if device is None else (gateway, Origin(collection, device))
    return (Origin(collection, device),)


def is_shared(event: Event, rule: Rule) -> bool:
    """Return whether an event belongs to a gateway and to a device."""
    origin = event.origin
    return rule.of_gateway and origin.device_id is not None and origin.gateway_id is not None


def rights_of(rule: Rule, *, shared: bool) -> tuple[str, ...]:
    """
    List the rights that make an event visible; one of them suffices.

    Args:
        shared: True if the event belongs to a gateway and to a device.
    """
    return (*rule.rights, "RIGHT_APPLICATION_TRAFFIC_READ") if shared else rule.rights


# ---- data ------------------------------------------------------------------------------------


def failure_of(event: Event, code: int) -> ErrorDetails:
    """Return the failure that an event reports, with the event's data and hint as attributes."""
    values: dict[str, str] = {**span.data_of(event), "hint": hint_of(event), "span_event": event.name}
    name, form, reasoned = _FAILURES[event.name]
    if "reason" in values or "state" in values:
        form = reasoned
    return ErrorDetails(_NAMESPACE, name, form, code, values)


def _failures() -> Mapping[str, tuple[str, str, str]]:
    """List name and template of the failure of each event; the second template shows the reason."""
    found = {}
    for name, event in CATALOGUE.items():
        snake = "".join(f"_{each.lower()}" if each.isupper() else each for each in name)
        meaning = meaning_of(event).rstrip(".")
        key = "state" if name == "firmwareStateChange" else "reason"
        found[name] = (snake, f"{meaning}: {{hint}}", f"{meaning}: `{{{key}}}`. {{hint}}")
    return found


_FAILURES: Final = _failures()


# ---- relations -------------------------------------------------------------------------------


def correlation_ids(activity: Activity) -> list[str]:
    """
    List the correlation ids of an activity, in alphabetical order.

    ``cause:`` is shared by all events of one received message or API call; ``as:up:``, ``gs:uplink:`` and
    ``as:downlink:`` follow a message; ``as:conn:``, ``gs:conn:`` and ``ns:conn:`` name the session.
    """
    event: Any = activity.event
    cause, session = event.correlation_id, event.session_id
    found = []
    ulid = None if cause is None else ids.to_ulid(cause)
    if ulid is not None:
        found.append(f"{CAUSE}:{ulid}")
    prefix = _MESSAGES.get(event.__class__)
    if prefix is not None and (message := event.message_id) is not None:
        if prefix == "as:up" and event.transport is Transport.GATEWAY:
            prefix = "gs:uplink"
        found.append(f"{prefix}:{ulid if message == cause else ids.to_ulid(message)}")
    if session is not None:
        found.append(f"{_session_of(event)}:{_ulid(session)}")
    if len(found) > 1:
        found.sort()
    return found


_ulid = lru_cache(maxsize=4096)(ids.to_ulid)
"""`ids.to_ulid` for sessions, which many events name."""


def _session_of(event: Event) -> str:
    if event.origin.gateway_id is not None:
        return "gs:conn"
    return "ns:conn" if event.name.startswith(("ciot", "clientSilent")) else "as:conn"


# ---- time ------------------------------------------------------------------------------------


def render_time(time_ns: int) -> str:
    """Write a Unix time as RFC 3339 in UTC, with 0, 3, 6 or 9 fractional digits."""
    second, rest = divmod(time_ns, 1_000_000_000)
    whole = _render_second(second)
    if not rest:
        return f"{whole}Z"
    milli, rest = divmod(rest, 1_000_000)
    if not rest:
        return f"{whole}.{_THREE[milli]}Z"
    micro, nano = divmod(rest, 1_000)
    return f"{whole}.{_THREE[milli]}{_THREE[micro]}{_THREE[nano] if nano else ''}Z"


_THREE: Final = tuple(f"{number:03}" for number in range(1_000))


@lru_cache(maxsize=64)
def _render_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
