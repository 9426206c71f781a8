"""
An activity as an event of ChirpStack: its kind, its topic, and its fields in the order of ChirpStack's definition.

As ChirpStack does, the fields of the event itself are always there, those of its radio parts only if they hold
something; times end in ``+00:00``, and numbers in ``object`` are doubles.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, Final, Protocol, assert_never

import orjson

from span_events import ids
from span_events.dialects.chirpstack.identity import DATA_TAG, EUI_TAG, GATEWAY, eui_of, real_eui, uuid_of
from span_events.dialects.chirpstack.rules import Kind, code_of, kind_of, level_of
from span_events.dialects.span import data_of, render_id, render_time
from span_events.events.activity import Activity, Event, hint_of
from span_events.events.catalogue import (
    KEYS,
    DeviceLocation,
    DeviceStatus,
    DownstreamAck,
    DownstreamMessage,
    UpstreamMessage,
    meaning_of,
)
from span_events.events.reasons import DownlinkState
from span_events.proto import chirpstack_pb2 as pb

TENANT: Final = "span"
"""Name of the tenant of all collections."""
_PROFILE: Final = "cellular-iot"
_UNIT: Final = {"imsi", "imei", "expectedImsi", "expectedImei"}
"""Keys of subscriber and hardware identities, which are masked: logs and topics travel far."""
_SHOWN: Final = 5
"""Digits of these that stay."""
_PORT: Final = 1
"""fPort of messages without one; consumers skip 0."""
_UINT32: Final = 0xFFFF_FFFF
_SOURCES: Final = frozenset(name for name, _ in pb.LocationSource.items())


class Facts(Protocol):
    """Knows what an event does not carry: names, tags and payloads; empty for what is not there."""

    @property
    def integration_events(self) -> bool:
        """Whether readers know the event `integration`, as of ChirpStack up to 4.14."""

    def collection(self, identifier: int) -> str:
        """Return the name of a collection."""

    def device(self, identifier: int) -> str:
        """Return the name of a device."""

    def tags(self, identifier: int) -> Mapping[str, str]:
        """Return the tags of a device."""

    def payload(self, collection_id: int, message_id: int) -> bytes:
        """Return the payload of an upstream message, as long as the inbox holds it."""


@dataclass(frozen=True, slots=True)
class Translated:
    """An event in ChirpStack's form."""

    kind: Kind
    application_id: str
    dev_eui: str
    document: dict[str, Any]

    @property
    def topic(self) -> str:
        """The topic where ChirpStack would publish the event over MQTT."""
        return f"application/{self.application_id}/device/{self.dev_eui}/event/{self.kind}"


def dev_eui_of(device_id: int, facts: Facts) -> str:
    """Return the EUI-64 of a device: that of its tag, or one that is computed from its id."""
    return real_eui(facts.tags(device_id).get(EUI_TAG, "")) or eui_of("device", render_id(device_id))


def translate(activity: Activity, facts: Facts) -> Translated | None:
    """Return an activity in ChirpStack's form; None if it has no counterpart."""
    event = activity.event
    kind = kind_of(event, integration=facts.integration_events)
    collection_id, device_id = event.origin.collection_id, event.origin.device_id
    if kind is None or collection_id is None or device_id is None:
        return None
    tags = facts.tags(device_id)
    collection, device = render_id(collection_id), render_id(device_id)
    dev_eui = dev_eui_of(device_id, facts)
    application_id = uuid_of("collection", collection)
    own = {"span_collection_id": collection, "span_device_id": device, "span_event": event.name}
    if kind not in (Kind.LOG, Kind.UP) and (data := _masked(event)):  # ChirpStack's fields have a part of it only
        own[DATA_TAG] = orjson.dumps(data).decode()
    info = {
        "tenantId": uuid_of("team", TENANT),
        "tenantName": TENANT,
        "applicationId": application_id,
        "applicationName": facts.collection(collection_id) or collection,
        "deviceProfileId": uuid_of("profile", _PROFILE),
        "deviceProfileName": _PROFILE,
        "deviceName": facts.device(device_id) or device,
        "devEui": dev_eui,
        "deviceClassEnabled": "CLASS_A",
        "tags": {**tags, **own},
    }
    draft = _Draft(activity, dev_eui, info, facts)
    return Translated(kind, application_id, dev_eui, draft.document(kind))


@dataclass(frozen=True, slots=True)
class _Draft:
    activity: Activity
    dev_eui: str
    info: dict[str, Any]
    facts: Facts

    def document(self, kind: Kind) -> dict[str, Any]:
        """Return the fields of the event."""
        event = self.activity.event
        match kind:
            case Kind.UP:
                assert isinstance(event, UpstreamMessage)
                return self._up(event)
            case Kind.JOIN:
                return {**self._head(), "devAddr": self._dev_addr(), "regionConfigId": ""}
            case Kind.ACK:
                assert isinstance(event, DownstreamAck)
                return {
                    **self._head(),
                    "queueItemId": self._queue_item(event.queue_item_id or self._identifier()),
                    "acknowledged": event.state is DownlinkState.ACKNOWLEDGED,
                    "fCntDown": event.f_cnt_down or 0,
                }
            case Kind.TXACK:
                assert isinstance(event, DownstreamMessage | DownstreamAck)
                return self._txack(event)
            case Kind.STATUS:
                assert isinstance(event, DeviceStatus)
                return {
                    **self._head(),
                    "margin": event.margin or 0,
                    "externalPowerSource": event.power == "external",
                    "batteryLevelUnavailable": event.power == "unknown",
                    "batteryLevel": float(event.battery or 0.0),
                }
            case Kind.LOCATION:
                assert isinstance(event, DeviceLocation)
                return {**self._head(), "location": _location(event)}
            case Kind.LOG:
                return self._log(event)
            case Kind.INTEGRATION:
                return {**self._head(), "integrationName": TENANT, "eventType": event.name, "object": _masked(event)}
            case _:
                assert_never(kind)

    def _up(self, event: UpstreamMessage) -> dict[str, Any]:
        collection_id = event.origin.collection_id
        payload = b""
        if collection_id is not None and event.message_id is not None:
            payload = self.facts.payload(collection_id, event.message_id)
        gateway = GATEWAY if event.origin.gateway_id is None else render_id(event.origin.gateway_id)
        time = self._time()
        reception = {
            "gatewayId": eui_of("gateway", gateway),
            "uplinkId": self.activity.id & _UINT32,
            "nsTime": time,
            "metadata": {"transport": event.transport.value, "network": "cellular"},
        }
        return {
            **self._head(),
            "devAddr": self._dev_addr(),
            "adr": False,
            "dr": 0,
            "fCnt": event.number & _UINT32,
            "fPort": _PORT,
            "confirmed": False,
            "data": b64encode(payload).decode(),
            "object": _object_of(event),
            "rxInfo": [reception],
            "txInfo": {},
            "regionConfigId": "",
        }

    def _txack(self, event: DownstreamMessage | DownstreamAck) -> dict[str, Any]:
        counter = event.number if isinstance(event, DownstreamMessage) else event.f_cnt_down or 0
        item = ids.render(event.message_id) if isinstance(event, DownstreamMessage) else event.queue_item_id
        gateway = event.gateway if isinstance(event, DownstreamAck) else None
        if gateway is None:
            gateway = eui_of(
                "gateway", GATEWAY if event.origin.gateway_id is None else render_id(event.origin.gateway_id)
            )
        return {
            "downlinkId": self.activity.id & _UINT32,
            "time": self._time(),
            "deviceInfo": self.info,
            "queueItemId": self._queue_item(item or self._identifier()),
            "fCntDown": counter & _UINT32,
            "gatewayId": gateway,
            "txInfo": {},
        }

    def _log(self, event: Event) -> dict[str, Any]:
        data = data_of(event)
        cause = data.get("reason") or data.get("state")
        meaning = meaning_of(type(event)).rstrip(".")
        context = {
            "span_event": event.name,
            "deduplication_id": self._identifier(),
            "hint": hint_of(event),
            **_masked(event),
        }
        return {
            "time": self._time(),
            "deviceInfo": self.info,
            "level": level_of(event),
            "code": code_of(event),
            "description": f"{meaning}: {cause}" if cause else meaning,
            "context": context,
        }

    def _head(self) -> dict[str, Any]:
        return {"deduplicationId": self._identifier(), "time": self._time(), "deviceInfo": self.info}

    def _time(self) -> str:
        return render_rfc3339(self.activity.time_ns)

    def _dev_addr(self) -> str:
        return f"00{self.dev_eui[-6:]}"

    def _identifier(self) -> str:
        """Return the id of the event, the same however often it is written."""
        activity, origin = self.activity, self.activity.event.origin
        device = "" if origin.device_id is None else render_id(origin.device_id)
        time = render_time(activity.time_ns // 1_000_000_000)
        return uuid_of("event", f"{device}:{activity.event.name}:{time}:{ids.render(activity.id)}")

    def _queue_item(self, item: str) -> str:
        """Return the id of a downlink, a UUID: that of the network server, or one over ours."""
        return item if "-" in item else uuid_of("downlink", item)


def _object_of(event: Event) -> dict[str, object]:
    """Return the data of an event with its numbers as doubles."""
    data: dict[str, object] = dict(data_of(event))
    for each in KEYS[type(event)]:
        value = getattr(event, each.attribute)
        if each.kind in (int, float) and value is not None:
            data[each.name] = float(value)
    return data


def _location(event: DeviceLocation) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("latitude", "longitude", "altitude"):
        _put(found, name, getattr(event, name))
    if event.source in _SOURCES:
        found["source"] = event.source
    _put(found, "accuracy", event.accuracy)
    return found


def _put(found: dict[str, object], name: str, text: str | None) -> None:
    """Add a decimal number unless it is 0, which ChirpStack leaves out."""
    try:
        number = float(text or 0)
    except ValueError:
        return
    if number and isfinite(number):
        found[name] = number


def _masked(event: Event) -> dict[str, str]:
    """Return the data of an event, with the first digits only of identities."""
    return {
        key: value[:_SHOWN] + "*" * (len(value) - _SHOWN) if key in _UNIT else value
        for key, value in data_of(event).items()
    }


def render_rfc3339(time_ns: int) -> str:
    """Write a Unix time as ChirpStack does: UTC, ``+00:00``, a fraction of 0, 3, 6 or 9 digits."""
    second, rest = divmod(time_ns, 1_000_000_000)
    fraction = ""
    if rest:
        digits = 9 if rest % 1_000 else 6 if rest % 1_000_000 else 3
        fraction = f".{rest:09d}"[: digits + 1]
    return f"{_render_second(second)}{fraction}+00:00"


@lru_cache(maxsize=64)
def _render_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
