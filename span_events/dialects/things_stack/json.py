"""The Things Stack's JSON of an event: keys in the order of the protobuf, no spaces, absent keys omitted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, Final

import orjson

from span_events import ids
from span_events.dialects import span
from span_events.dialects.things_stack.event import (
    VALUE,
    correlation_ids,
    entities_at,
    entities_of,
    failure_of,
    is_shared,
    render_time,
    rights_of,
)
from span_events.dialects.things_stack.rules import Rule, rule_of
from span_events.events.activity import Activity, Event, Origin
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
        """Write an activity as one JSON object: that of `document`, from parts that repeat."""
        event = activity.event
        origin = event.origin
        rule = rule_of(event)
        head, entities, end = _parts(self.host, rule, origin.collection_id, origin.device_id, origin.gateway_id)
        if event.__class__ is DeviceMoved:
            entities = f',"identifiers":{_dump([identifiers_of(each) for each in entities_of(event, rule)])}'
        if rule.code is not None:
            data = f',"data":{_dump(failure_of(event, rule.code).as_json())}'
        elif values := span.data_of(event):
            data = f"{_VALUE}{orjson.dumps(values).decode()}}}"
        else:
            data = ""
        related = correlation_ids(activity)
        relations = f"{_RELATED}{_AND.join(related)}{_END}" if related else ""
        return (
            f'{head}{render_time(activity.time_ns)}"{entities}{data}{relations}{end}{ids.to_ulid(activity.id)}"}}'
        ).encode()

    def document(self, activity: Activity, *, redacted: bool = False) -> dict[str, Any]:
        """
        Return an activity as a JSON object.

        Args:
            redacted: Leave out data and correlation ids.
        """
        event = activity.event
        rule = rule_of(event)
        found: dict[str, Any] = {"name": rule.name, "time": render_time(activity.time_ns)}
        if entities := entities_of(event, rule):
            found["identifiers"] = [identifiers_of(each) for each in entities]
        if not redacted:
            if data := _data_of(event, rule):
                found["data"] = data
            if related := correlation_ids(activity):
                found["correlation_ids"] = related
        found["origin"] = self.host
        if rights := rights_of(rule, shared=is_shared(event, rule)):
            found["visibility"] = {"rights": rights}
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


def _data_of(event: Event, rule: Rule) -> dict[str, Any] | None:
    if rule.code is not None:
        return failure_of(event, rule.code).as_json()
    data = span.data_of(event)
    return {"@type": VALUE, "value": data} if data else None


_VALUE: Final = f',"data":{{"@type":"{VALUE}","value":'
_RELATED: Final = ',"correlation_ids":["'
_AND: Final = '","'
_END: Final = '"]'


@lru_cache(maxsize=32768)
def _parts(
    host: str, rule: Rule, collection: int | None, device: int | None, gateway: int | None
) -> tuple[str, str, str]:
    """
    Write the parts of an event that depend on its origin and rule alone.

    They are what precedes the time, the member ``identifiers`` or nothing, and what stands between the correlation ids
    and the octets of ``unique_id``. Numbers are cheaper keys than origins.
    """
    entities = entities_at(Origin(collection, device, gateway), of_gateway=rule.of_gateway)
    identifiers = f',"identifiers":{_dump([identifiers_of(each) for each in entities])}' if entities else ""
    rights = rights_of(rule, shared=rule.of_gateway and device is not None and gateway is not None)
    visibility = f',"visibility":{_dump({"rights": rights})}' if rights else ""
    head, end = f'{{"name":"{rule.name}","time":"', f',"origin":{_dump(host)}{visibility},"unique_id":"'
    return intern(head), identifiers, intern(end)


def _dump(value: object) -> str:
    return orjson.dumps(value).decode()
