"""Parts of an event that JSON and protobuf have in common: entities, rights, failures, correlation ids, time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

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
_DOWNLINKS: Final = (DownstreamMessage, DownstreamQueued, DownstreamFailed, GatewayDownstreamMessage)
_UPLINKS: Final = (UpstreamMessage, GatewayUpstreamMessage)


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


def rights_of(event: Event, rule: Rule) -> tuple[str, ...]:
    """List the rights that make an event visible; one of them suffices."""
    if rule.of_gateway and event.origin.device_id is not None and event.origin.gateway_id is not None:
        return (*rule.rights, "RIGHT_APPLICATION_TRAFFIC_READ")
    return rule.rights


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
    event = activity.event
    found = []
    if isinstance(event, _DOWNLINKS):
        found.append(f"as:downlink:{_ulid(event.message_id)}")
    elif isinstance(event, _UPLINKS) and event.message_id is not None:
        through = isinstance(event, GatewayUpstreamMessage) or event.transport is Transport.GATEWAY
        found.append(f"{'gs:uplink' if through else 'as:up'}:{_ulid(event.message_id)}")
    if event.correlation_id is not None:
        found.append(f"{CAUSE}:{_ulid(event.correlation_id)}")
    if event.session_id is not None:
        found.append(f"{_session_of(event)}:{_ulid(event.session_id)}")
    if len(found) > 1:
        found.sort()
    return found


_ulid = lru_cache(maxsize=4096)(ids.to_ulid)
"""`ids.to_ulid` for sessions and messages, which several events name."""


def _session_of(event: Event) -> str:
    if event.origin.gateway_id is not None:
        return "gs:conn"
    return "ns:conn" if event.name.startswith(("ciot", "clientSilent")) else "as:conn"


# ---- time ------------------------------------------------------------------------------------


def render_time(time_ns: int) -> str:
    """Write a Unix time as RFC 3339 in UTC, with 0, 3, 6 or 9 fractional digits."""
    second, rest = divmod(time_ns, 1_000_000_000)
    if rest % 1_000:
        return f"{_render_second(second)}.{rest:09d}Z"
    if rest % 1_000_000:
        return f"{_render_second(second)}.{rest // 1_000:06d}Z"
    return f"{_render_second(second)}.{rest // 1_000_000:03d}Z" if rest else f"{_render_second(second)}Z"


@lru_cache(maxsize=64)
def _render_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
