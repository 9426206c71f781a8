"""CloudEvents 1.0 in the structured JSON mode: the same event for tools that read any vendor's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import orjson

from span_events import ids
from span_events.dialects.span import data_of, render_id, render_timestamp
from span_events.events.activity import Activity, hint_of, severity_of

TYPE: Final = "io.span-events."
"""Begin of every type; the rest is the name of the event."""


@dataclass(frozen=True, slots=True)
class CloudEventsDialect:
    """
    Writes an activity as a CloudEvent (CloudEvents 1.0.2, JSON format 1.0.2).

    ``source`` is the path of the collection, ``subject`` that of the device or gateway below it. Attributes beyond the
    specification's own: ``severity``, ``hint``, ``correlationid`` and ``sessionid``.
    """

    def encode(self, activity: Activity) -> bytes:
        """Write an activity as one line."""
        event = activity.event
        origin = event.origin
        line: dict[str, object] = {
            "specversion": "1.0",
            "id": ids.to_ulid(activity.id),
            "source": _source(origin.collection_id),
            "type": TYPE + event.name,
            "time": render_timestamp(activity.time_ns),
            "datacontenttype": "application/json",
            "severity": severity_of(event).word,
            "hint": hint_of(event),
        }
        if origin.device_id is not None:
            line["subject"] = f"devices/{render_id(origin.device_id)}"
        elif origin.gateway_id is not None:
            line["subject"] = f"gateways/{render_id(origin.gateway_id)}"
        if event.correlation_id is not None:
            line["correlationid"] = ids.render(event.correlation_id)
        if event.session_id is not None:
            line["sessionid"] = ids.render(event.session_id)
        line["data"] = data_of(event)
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _source(collection_id: int | None) -> str:
    return "/span" if collection_id is None else f"/span/collections/{render_id(collection_id)}"
