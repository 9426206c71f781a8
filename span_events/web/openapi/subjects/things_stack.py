"""The Things Stack's API of events, in the OpenAPI document: in short, since its own documents describe it."""

from __future__ import annotations

from typing import Final

from span_events.web.openapi.operations import JSON, Operation, parameter
from span_events.web.openapi.schemas import Schema, fields, list_of, ref, text

_EVENT_STREAM: Final = "text/event-stream"
_REFUSED: Final[dict[int, Schema]] = {
    status: {"description": meaning, "content": {JSON: {"schema": ref("ThingsStackError")}}}
    for status, meaning in {
        400: "The request is invalid.",
        401: "The token is unknown.",
        403: "There is no token, or it does not reach the resource.",
        404: "There is no such resource.",
        429: "A limit is reached.",
        500: "The server failed.",
        503: "The server cannot do this now.",
    }.items()
}
SCHEMAS: Final[dict[str, Schema]] = {
    "ThingsStackError": fields("google.rpc.Status, as The Things Stack writes it.", {})
    | {"additionalProperties": True},
    "ThingsStackEvent": fields(
        "An event of The Things Stack.", {}, {"name": text(), "time": text(), "unique_id": text()}
    )
    | {"additionalProperties": True},
    "ThingsStackRequest": fields(
        "Identifiers of what to follow.", {}, {"identifiers": list_of({"type": "object"}), "names": list_of(text())}
    )
    | {"additionalProperties": True},
}
OPERATIONS: Final = (
    Operation(
        method="post",
        path="/api/v3/events",
        id="streamThingsStackEvents",
        summary="Follow events as The Things Stack writes them",
        body=ref("ThingsStackRequest"),
        example={"identifiers": [{"application_ids": {"application_id": "17dh0cf43jfgl8"}}]},
        content={JSON: ref("ThingsStackEvent"), _EVENT_STREAM: text()},
        reply="Objects of one line each, or Server-Sent Events.",
        statuses=_REFUSED,
    ),
    Operation(
        method="get",
        path="/api/v3/events/related",
        id="listThingsStackRelated",
        summary="List all events with one correlation id as The Things Stack writes them",
        query=(parameter("correlation_id", "The correlation id.", text(), required=True),),
        content={JSON: fields("Events.", {"events": list_of(ref("ThingsStackEvent"))})},
        statuses=_REFUSED,
    ),
    Operation(
        method="get",
        path="/api/v3/console/internal/events/",
        id="openThingsStackConsole",
        summary="Open the WebSocket of The Things Stack's Console",
        content={},
        statuses={101: {"description": "A WebSocket."}} | _REFUSED,
    ),
)
