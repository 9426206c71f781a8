"""The AsyncAPI 3.0 document of the streams: one message per event, written from the catalogue."""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final

import orjson

import span_events
from span_events.events.catalogue import CATALOGUE, meaning_of
from span_events.web.openapi.activities import schema_of
from span_events.web.openapi.schemas import Schema, fields, list_of, ref, text
from span_events.web.openapi.subjects import devices, messages
from span_events.web.openapi.subjects.streams import ACTIVITY_PARAMETERS, PAST_PARAMETERS, PATHS

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_CRITERIA: Final = fields(
    "Criteria, as the query parameters of their names.",
    {},
    {
        **dict.fromkeys(("event", "device", "gateway", "reason"), list_of(text())),
        **dict.fromkeys(("severity", "text"), text()),
    },
)
_CONTROL: Final[dict[str, Schema]] = {
    "keepalive": fields("Sent after silence.", {"type": {"const": "keepalive"}}),
    "live": fields("The past ends here (extended).", {"type": {"const": "live"}}),
    "filter": fields("The filter as applied.", {"type": {"const": "filter"}, "filter": _CRITERIA}),
    "error": fields(
        "The filter was refused; the one before stays.",
        {"type": {"const": "error"}, "detail": text()},
        {"field": text(), "hint": text()},
    ),
}
_GAP: Final = fields(
    "Messages are missing here; sent to those alone who ask for the past (`tail`, `after`).",
    {"type": {"const": "unknown"}, "event": {"const": "eventsDropped"}, "data": {"type": "object"}},
    {"collectionId": text(), "deviceId": text(), "time": text()},
)
_CHANGE: Final = fields("Replaces the filter of this stream.", {"filter": _CRITERIA})
_DESCRIPTION: Final = """\
Each text frame is one JSON object. The same URLs serve Server-Sent Events and lines of JSON to other clients: see
`/openapi.json`. All values of an event's data are text. Fields that are marked extended come with `extended=1`.
"""


@cache
def render() -> bytes:
    """Return the document as JSON."""
    return orjson.dumps(document())


def document() -> dict[str, Any]:
    """Build the document."""
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    for path, (scope, summary) in PATHS.items():
        activities = path.endswith("activity")
        name = scope + ("Activity" if activities else "Messages")
        channels[name] = _channel(path, summary, activities=activities)
        channel = {"$ref": f"#/channels/{name}"}
        theirs = [{"$ref": f"#/channels/{name}/messages/changeFilter"}] if activities else []
        ours = [{"$ref": f"#/channels/{name}/messages/{each}"} for each in channels[name]["messages"]]
        sent = [each for each in ours if each not in theirs]
        operations[f"watch{name[0].upper()}{name[1:]}"] = {
            "action": "send",
            "channel": channel,
            "summary": summary,
            "messages": sent,
        }
        if activities:
            operations[f"filter{name[0].upper()}{name[1:]}"] = {
                "action": "receive",
                "channel": channel,
                "summary": "Change the filter without connecting again",
                "messages": theirs,
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "span-events",
            "version": span_events.__version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "http": {
                "host": "{address}",
                "protocol": "ws",
                "description": "The HTTP port.",
                "variables": {"address": {"default": "127.0.0.1:8080", "description": "`http.host` and `http.port`."}},
                "security": [{"$ref": f"#/components/securitySchemes/{each}"} for each in ("token", "bearer", "query")],
            }
        },
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": _messages(),
            "schemas": {**devices.SCHEMAS, **messages.SCHEMAS},
            "securitySchemes": {
                "token": {"type": "httpApiKey", "in": "header", "name": "X-API-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "query": {
                    "type": "httpApiKey",
                    "in": "query",
                    "name": "api_token",
                    "description": "Read-only tokens alone: URLs are logged.",
                },
            },
        },
    }


def _channel(path: str, summary: str, *, activities: bool) -> Schema:
    names = [*CATALOGUE, *_CONTROL, "changeFilter"] if activities else ["outputDataMessage", "keepalive", "gap"]
    parameters = {name: {"description": f"Identifier of the {name}, base 24."} for name in _PARAMETER.findall(path)}
    channel: Schema = {
        "address": f"/span{path}",
        "summary": summary,
        "messages": {each: {"$ref": f"#/components/messages/{each}"} for each in names},
    }
    if parameters:
        channel["parameters"] = parameters
    given = ACTIVITY_PARAMETERS if activities else PAST_PARAMETERS
    query = {each["name"]: {**each["schema"], "description": each["description"]} for each in given}
    channel["bindings"] = {"ws": {"query": {"type": "object", "properties": query}, "bindingVersion": "0.1.0"}}
    return channel


def _messages() -> dict[str, Schema]:
    found: dict[str, Schema] = {
        name: {
            "name": name,
            "summary": meaning_of(event),
            "description": event.hint,
            "payload": schema_of(event),
            "tags": [{"name": event.severity.word}, {"name": "extension" if event.extension else "span"}],
        }
        for name, event in CATALOGUE.items()
    }
    for name, schema in {**_CONTROL, "changeFilter": _CHANGE, "gap": _GAP}.items():
        found[name] = {"name": name, "summary": schema["description"], "payload": schema}
    found["outputDataMessage"] = {
        "name": "outputDataMessage",
        "summary": "An upstream message.",
        "payload": ref("OutputDataMessage"),
    }
    return found
