"""The Things Stack's JSON of an event: keys in the order of the protobuf, no spaces, absent keys omitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from span_events import ids
from span_events.dialects import span
from span_events.dialects.things_stack.event import (
    VALUE,
    correlation_ids,
    entities_at,
    entities_of,
    failure_of,
    render_time,
    rights_of,
)
from span_events.dialects.things_stack.rules import rule_of
from span_events.events.activity import Activity, Origin
from span_events.events.catalogue import DeviceMoved


@dataclass(frozen=True, slots=True)
class JsonDialect:
    """
    The JSON of events.

    Args:
        host: Name of the host that publishes the events.
    """

    host: str

    def encode(self, activity: Activity) -> bytes:
        """Write an activity as one JSON object."""
        return orjson.dumps(self.document(activity))

    def document(self, activity: Activity, *, redacted: bool = False) -> dict[str, Any]:
        """
        Return an activity as a JSON object.

        Args:
            redacted: Leave out data and correlation ids.
        """
        event = activity.event
        rule = rule_of(event)
        found: dict[str, Any] = {"name": rule.name, "time": render_time(activity.time_ns)}
        if isinstance(event, DeviceMoved):
            found["identifiers"] = [identifiers_of(each) for each in entities_of(event, rule)]
        elif event.origin.collection_id is not None:
            found["identifiers"] = _identifiers(event.origin, rule.of_gateway)
        if not redacted:
            if rule.code is not None:
                found["data"] = failure_of(event, rule.code).as_json()
            elif data := span.data_of(event):
                found["data"] = {"@type": VALUE, "value": data}
            if related := correlation_ids(activity):
                found["correlation_ids"] = related
        found["origin"] = self.host
        if rights := rights_of(event, rule):
            found["visibility"] = _visibility(rights)
        found["unique_id"] = ids.to_ulid(activity.id)
        return found

    def start(
        self,
        identifier: int,
        time_ns: int,
        *,
        identifiers: Sequence[dict[str, Any]],
        names: Sequence[str] | None,
        request_id: str,
    ) -> bytes:
        """
        Write the event that begins a stream.

        Args:
            names: The resolved filter; None if the request has no filter.
        """
        found: dict[str, Any] = {
            "name": "events.stream.start",
            "time": render_time(time_ns),
            "identifiers": identifiers,
        }
        if names is not None:
            found["data"] = {"@type": VALUE, "value": names}
        found["correlation_ids"] = [f"rpc:/ttn.lorawan.v3.Events/Stream:{request_id}"]
        found["origin"] = self.host
        found["unique_id"] = ids.to_ulid(identifier)
        return orjson.dumps(found)


def identifiers_of(entity: Origin) -> dict[str, Any]:
    """Return the identifiers of one entity."""
    assert entity.collection_id is not None
    if entity.gateway_id is not None:
        return {"gateway_ids": {"gateway_id": ids.render(entity.gateway_id)}}
    application = {"application_id": ids.render(entity.collection_id)}
    if entity.device_id is None:
        return {"application_ids": application}
    return {"device_ids": {"device_id": ids.render(entity.device_id), "application_ids": application}}


@lru_cache(maxsize=65536)
def _identifiers(origin: Origin, of_gateway: bool) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps([identifiers_of(each) for each in entities_at(origin, of_gateway=of_gateway)]))


@lru_cache(maxsize=64)
def _visibility(rights: tuple[str, ...]) -> orjson.Fragment:
    return orjson.Fragment(orjson.dumps({"rights": rights}))
