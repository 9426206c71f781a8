"""Streams of events and messages, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import Severity
from span_events.web.openapi.operations import EXTENDED, Operation, parameter
from span_events.web.openapi.schemas import NUMBER, TRUE_FALSE, Schema, list_of, one_of, ref, text
from span_events.web.streams.request import FORMATS

EVENT_STREAM: Final = "text/event-stream"
LINES: Final = "application/x-ndjson"
PAST_PARAMETERS: Final = (
    parameter("tail", "Begin with so many of the past.", NUMBER | {"minimum": 0}),
    parameter("after", "Begin after this event or message, or this time (RFC 3339 or milliseconds).", text()),
    parameter("until", "End after this event or message, or this time (RFC 3339 or milliseconds).", text()),
    parameter("limit", "End after so many of the past.", NUMBER | {"minimum": 0}),
    parameter("follow", "0 ends the stream where the present begins.", TRUE_FALSE),
)
ACTIVITY_PARAMETERS: Final = (
    parameter(
        "event", "Only events of this name, or /regex/; `!` before it excludes. May be repeated.", list_of(text())
    ),
    parameter("device", "Only events of this device. May be repeated.", list_of(text())),
    parameter("gateway", "Only events of this gateway. May be repeated.", list_of(text())),
    parameter("severity", "Only events at least this severe.", one_of(each.word for each in Severity)),
    parameter("reason", "Only events with this reason. May be repeated.", list_of(text())),
    parameter("text", "Only events with this text in their data.", text()),
    parameter("profile", "Only Span's events and keys, or all.", one_of(("span", "extended"))),
    EXTENDED,
    parameter("format", "Span's JSON, CloudEvents 1.0, or ChirpStack's.", one_of(FORMATS)),
    *PAST_PARAMETERS,
    parameter("unattributed", "Also events of no collection; needs a token for /.", TRUE_FALSE),
)
PATHS: Final = {
    "/activity": ("everything", "Watch all events that the token may see"),
    "/collections/{collection}/activity": ("collection", "Watch the events of a collection"),
    "/collections/{collection}/devices/{device}/activity": ("device", "Watch the events of a device"),
    "/collections/{collection}/gateways/{gateway}/activity": ("gateway", "Watch the events of a gateway"),
    "/collections/{collection}/from": ("collection", "Watch the upstream messages of a collection"),
    "/collections/{collection}/devices/{device}/from": ("device", "Watch the upstream messages of a device"),
}
"""Paths of the streams below ``/span`` and, for older clients, below ``/``: the scope and a summary."""
SCHEMAS: Final[dict[str, Schema]] = {}


def _operation(prefix: str, path: str, scope: str, summary: str) -> Operation:
    activities = path.endswith("activity")
    item = ref("ActivityEvent" if activities else "OutputDataMessage")
    name = f"watch{scope.capitalize()}{'' if activities else 'Messages'}{'' if prefix else 'Alias'}"
    last = {"name": "Last-Event-ID", "in": "header", "description": "Resume after it (SSE).", "schema": text()}
    return Operation(
        method="get",
        path=prefix + path,
        id=name,
        summary=summary,
        query=ACTIVITY_PARAMETERS if activities else PAST_PARAMETERS,
        headers=(last,),
        content={
            EVENT_STREAM: {"type": "string", "description": "Server-Sent Events; `data` is one object as in NDJSON."},
            LINES: item | {"description": "One JSON object a line."},
        },
        reply="A stream: Server-Sent Events with `Accept: text/event-stream`, else lines of JSON.",
        statuses={101: {"description": "A WebSocket; each text frame is one JSON object. See `/asyncapi.json`."}},
        problems=(426, 429),
    )


_MQTT: Final = Operation(
    method="get",
    path="/mqtt",
    id="openMqtt",
    summary="Open a WebSocket for MQTT, with the subprotocol mqtt",
    content={},
    statuses={101: {"description": "A WebSocket; the client's CONNECT packet brings collection and token."}},
    problems=(403, 426, 429),
    needs_token=False,
)
OPERATIONS: Final = (
    *(_operation(prefix, path, scope, summary) for prefix in ("/span", "") for path, (scope, summary) in PATHS.items()),
    _MQTT,
)
