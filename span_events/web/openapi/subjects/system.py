"""The server itself, in the OpenAPI document."""

from __future__ import annotations

from typing import Final

from span_events.events.activity import Severity
from span_events.web.openapi.operations import EXTENDED, JSON, Operation, json_of
from span_events.web.openapi.schemas import NUMBER, TEXTS, TRUE_FALSE, Schema, fields, list_of, one_of, ref, text

_SEVERITY: Final = one_of(each.word for each in Severity)
_ANY: Final[Schema] = {"type": "object"}
SCHEMAS: Final[dict[str, Schema]] = {
    "Problem": fields(
        "A refusal (RFC 9457), with google.rpc.Status beside it.",
        {
            "type": text("`urn:span-events:` and a stable word."),
            "title": text(),
            "status": NUMBER | {"description": "HTTP status."},
            "detail": text("What was seen, and what is valid."),
            "code": NUMBER | {"description": "google.rpc.Code."},
            "message": text("The same as detail."),
            "details": list_of({"type": "object", "additionalProperties": True}),
        },
        {"hint": text("The next thing to try."), "field": text("Path of the wrong field or parameter.")},
    )
    | {
        "example": {
            "type": "urn:span-events:not_found",
            "title": "There is no device 17dh0cf43jfgl8",
            "status": 404,
            "detail": "There is no device 17dh0cf43jfgl8",
            "code": 5,
            "message": "There is no device 17dh0cf43jfgl8",
            "details": [],
        }
    },
    "Health": fields(
        "Health of the server.",
        {"status": one_of(("ok", "degraded")), "parts": TEXTS | {"description": "`ok` or the failure, by part."}},
    ),
    "CatalogueKey": fields(
        "A key of an event's data.",
        {"name": text(), "meaning": text(), "optional": TRUE_FALSE, "extension": TRUE_FALSE},
        {"reasons": list_of(fields("A reason.", {"value": text(), "hint": text()}, {"severity": _SEVERITY}))},
    ),
    "CatalogueEvent": fields(
        "An event that can happen.",
        {
            "name": text(),
            "meaning": text(),
            "severity": _SEVERITY,
            "hint": text(),
            "extension": TRUE_FALSE,
            "keys": list_of(ref("CatalogueKey")),
        },
    ),
}
OPERATIONS: Final = (
    Operation(
        method="get",
        path="/",
        id="getHome",
        summary="A short page, from whose origin a browser's console may open streams",
        content={"text/html": text()},
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/span/system",
        id="getSystem",
        summary="Show the version of the API",
        query=(EXTENDED,),
        content={
            JSON: fields(
                "Versions.",
                {"version": text("Of Span's API."), "buildDate": text(), "releaseName": text()},
                {"spanEvents": text("Of this server (extended).")},
            )
        },
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/span/events/catalogue",
        id="getCatalogue",
        summary="List every event that can happen, with its keys, reasons and hints",
        content={JSON: fields("The catalogue.", {"events": list_of(ref("CatalogueEvent"))})},
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/healthz",
        id="getHealth",
        summary="Show the health of each part, always with 200",
        content=json_of("Health"),
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/readyz",
        id="getReadiness",
        summary="Show the health of each part, with 503 while one fails",
        content=json_of("Health"),
        statuses={503: {"description": "A part fails.", "content": {JSON: {"schema": ref("Health")}}}},
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/metrics",
        id="getMetrics",
        summary="Metrics in Prometheus' text format",
        content={"text/plain": text()},
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/openapi.json",
        id="getOpenapi",
        summary="This document",
        content={JSON: _ANY},
        needs_token=False,
    ),
    Operation(
        method="get",
        path="/asyncapi.json",
        id="getAsyncapi",
        summary="The AsyncAPI document of the streams: one message per event",
        content={JSON: _ANY},
        needs_token=False,
    ),
)
