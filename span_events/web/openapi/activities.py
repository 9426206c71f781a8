"""Activity events as JSON schemas, written from the catalogue."""

from __future__ import annotations

from typing import Any, Final

from span_events.events.activity import Event, Severity
from span_events.events.catalogue import CATALOGUE, KEYS, meaning_of
from span_events.web.openapi.schemas import ID, NUMBER, TEXTS, Schema, fields, list_of, one_of, ref, text

_EXTENDED: Final[dict[str, Schema]] = {
    "collectionName": text("Tag `name` of the collection (extended)."),
    "deviceName": text("Tag `name` of the device (extended)."),
    "id": ID | {"description": "Identifier of the event (extended)."},
    "correlationIds": list_of(text("`cause:ID` or `session:ID`")) | {"description": "Shared with others (extended)."},
    "sessionId": ID | {"description": "Session of the device or gateway (extended)."},
    "severity": one_of(each.word for each in Severity) | {"description": "Urgency (extended)."},
    "hint": text("What to do next (extended)."),
    "timestamp": text("RFC 3339 with milliseconds (extended).") | {"format": "date-time"},
}


def _activity(description: str, event: Schema, data: Schema) -> Schema:
    return fields(
        description,
        {"event": event, "time": text("YYYY-MM-DD HH:MM:SS, UTC.")},
        {"collectionId": ID, "deviceId": ID, "gatewayId": ID, "data": data, **_EXTENDED},
    )


def schema_of(event: type[Event]) -> Schema:
    """Write the schema of one event: all values of its data are text."""
    keys: dict[str, Any] = {each.name: text(f"{each.meaning}.") for each in KEYS[event]}
    for each in KEYS[event]:
        if each.reasons is not None:
            keys[each.name] |= {"enum": [reason.value for reason in each.reasons]}
    data = fields("Data of the event.", {}, keys)
    required = [each.name for each in KEYS[event] if not each.optional]
    return _activity(meaning_of(event), {"const": event.name}, data | ({"required": required} if required else {}))


SCHEMAS: Final[dict[str, Schema]] = {
    "ActivityEvent": _activity(
        "An activity event. `/asyncapi.json` has a schema for each of them.", one_of(CATALOGUE), TEXTS
    ),
    "RelatedEvent": {
        "allOf": [
            ref("ActivityEvent"),
            fields("The time before it.", {"afterMs": NUMBER | {"description": "Milliseconds since the one before."}}),
        ]
    },
}
