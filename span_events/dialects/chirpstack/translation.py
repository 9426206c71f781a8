"""
ChirpStack's events as ours: what each kind of them says about a device.

An event that another server of ours wrote names ours in the tag ``span_event``; `restored` makes that event again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from span_events import ids
from span_events.dialects.chirpstack.identity import DATA_TAG
from span_events.dialects.chirpstack.reading import Fields
from span_events.dialects.chirpstack.rules import Kind, log_reason_of
from span_events.errors import InvalidRequest
from span_events.events.activity import Event, Key, Moment, Origin, SpanId
from span_events.events.catalogue import (
    CATALOGUE,
    KEYS,
    DeviceJoined,
    DeviceLocation,
    DeviceStatus,
    DownstreamAck,
    NetworkLog,
    UpstreamMessage,
)
from span_events.events.reasons import DownlinkState, NetworkLogReason
from span_events.proto import chirpstack_pb2 as pb

_LONGEST: Final = 1024
"""Characters of a text in an event, and of a value beside a message."""
_CODES: Final = {number: name for name, number in pb.LogCode.items()}
_LEVELS: Final = {number: name for name, number in pb.LogLevel.items()}


@dataclass(frozen=True, slots=True)
class Uplink:
    """An upstream message that a network server reports."""

    payload: bytes
    metadata: dict[str, str]
    """The network's data about the message: port, counter, signal, decoded object."""
    radio: str
    """The same in short, for people."""
    network_time: Moment | None


def uplink_of(fields: Fields) -> Uplink:
    """
    Return the message of an ``up`` event.

    Raises:
        InvalidRequest: The payload is no base64.
    """
    gateways = fields.each("rxInfo")
    best = max(gateways, key=_strength, default=Fields(None))
    rssi, snr = best.number("rssi"), best.number("snr")
    spreading = fields.inside("txInfo").inside("modulation").inside("lora").integer("spreadingFactor")
    known = {
        "fPort": _whole(fields, "fPort"),
        "fCnt": _whole(fields, "fCnt"),
        "dr": _whole(fields, "dr"),
        "devAddr": fields.text("devAddr"),
        "gateways": str(len(gateways)),
        "gatewayId": best.text("gatewayId"),
        "rssi": "" if rssi is None else f"{rssi:g}",
        "snr": "" if snr is None else f"{snr:g}",
        "spreadingFactor": "" if spreading is None else str(spreading),
        "object": _compact(fields.values.get("object"), most=_LONGEST, cut=False),
    }
    metadata = {name: value[:_LONGEST] for name, value in known.items() if value}
    words = [f"port {known['fPort'] or 0}", f"counter {known['fCnt'] or 0}"]
    words.append("1 gateway" if len(gateways) == 1 else f"{len(gateways)} gateways")
    words += [f"{value} {unit}" for value, unit in ((known["rssi"], "dBm"), (known["snr"], "dB")) if value]
    words += [f"SF{known['spreadingFactor']}"] if spreading else []
    return Uplink(fields.octets("data"), metadata, ", ".join(words), fields.time("time"))


def event_of(kind: Kind, fields: Fields, origin: Origin, cause: int) -> Event:
    """
    Return our event for one of ChirpStack's, other than ``up``.

    Args:
        cause: Number of the request or message, the event's correlation id.
    """
    common: dict[str, Any] = {"origin": origin, "correlation_id": cause, "network_time": fields.time("time")}
    match kind:
        case Kind.JOIN:
            return DeviceJoined(**common, dev_addr=_shown(fields.text("devAddr")))
        case Kind.ACK:
            acknowledged = fields.flag("acknowledged")
            state = DownlinkState.ACKNOWLEDGED if acknowledged else DownlinkState.NOT_ACKNOWLEDGED
            return DownstreamAck(**common, state=state, **_downlink(fields))
        case Kind.TXACK:
            gateway = _shown(fields.text("gatewayId"))
            return DownstreamAck(**common, state=DownlinkState.TRANSMITTED, gateway=gateway, **_downlink(fields))
        case Kind.STATUS:
            return DeviceStatus(**common, margin=fields.integer("margin") or 0, **_power(fields))
        case Kind.LOCATION:
            return DeviceLocation(**common, **_position(fields.inside("location")))
        case Kind.INTEGRATION:
            words = (fields.text("integrationName"), fields.text("eventType"))
            return NetworkLog(
                **common,
                reason=NetworkLogReason.INTEGRATION,
                description=_shown(": ".join(each for each in words if each)),
                context=_compact(fields.values.get("object")) or None,
            )
        case Kind.LOG:
            code, level = _word(fields, "code", _CODES), _word(fields, "level", _LEVELS)
            return NetworkLog(
                **common,
                reason=log_reason_of(code, level),
                code=_shown(code),
                description=_shown(fields.text("description")),
                context=_shown(" ".join(f"{key}={value}" for key, value in sorted(fields.texts("context").items()))),
            )
        case Kind.UP:
            raise AssertionError("an uplink is a message: uplink_of")


def restored(name: str, fields: Fields, origin: Origin, cause: int) -> Event | None:
    """
    Return the event of ours that another server wrote in ChirpStack's form; None if it is not whole there.

    Args:
        name: The tag ``span_event``.
    """
    event = CATALOGUE.get(name)
    if event is None or issubclass(event, UpstreamMessage):
        return None
    texts = fields.texts("context")
    try:
        tag = fields.inside("deviceInfo").texts("tags").get(DATA_TAG)
        texts = texts or Fields({"data": orjson.loads(tag)} if tag else {}).texts("data")
        data = {key.attribute: _value(key, texts[key.name]) for key in KEYS[event] if key.name in texts}
        return event(origin=origin, correlation_id=cause, **data)
    except (InvalidRequest, TypeError, ValueError, OverflowError):
        return None


def _value(key: Key, text: str) -> Any:
    if key.kind is SpanId:
        return ids.parse(text)
    if key.kind is Moment:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    return text[:_LONGEST] if key.kind is str else key.kind(text)


def _word(fields: Fields, name: str, names: Mapping[int, str]) -> str:
    """Return the name of an enum's value, which JSON may give as a number; a number without a name stays one."""
    number = fields.integer(name)
    if number is None:
        return fields.text(name) or names[0]
    return names.get(number, str(number))


def _strength(gateway: Fields) -> float:
    rssi = gateway.number("rssi")
    return float("-inf") if rssi is None else rssi


def _whole(fields: Fields, name: str) -> str:
    number = fields.integer(name)
    return "" if number is None else str(number)


def _downlink(fields: Fields) -> dict[str, Any]:
    return {"queue_item_id": _shown(fields.text("queueItemId")), "f_cnt_down": fields.integer("fCntDown") or 0}


def _power(fields: Fields) -> dict[str, Any]:
    if fields.flag("externalPowerSource"):
        return {"power": "external"}
    if fields.flag("batteryLevelUnavailable"):
        return {"power": "unknown"}
    return {"power": "battery", "battery": fields.number("batteryLevel") or 0.0}


def _position(location: Fields) -> dict[str, Any]:
    found = {name: _decimal(location.number(name)) for name in ("latitude", "longitude", "altitude", "accuracy")}
    found["latitude"] = found["latitude"] or "0"
    found["longitude"] = found["longitude"] or "0"
    return {**found, "source": _shown(location.text("source"))}


def _decimal(number: float | None) -> str | None:
    return None if number is None else f"{number:.9g}"


def _shown(text: str) -> str | None:
    return text[:_LONGEST] or None


def _compact(value: object, *, most: int = _LONGEST, cut: bool = True) -> str:
    """Write an object as JSON; too long a text is cut, or left out."""
    if not isinstance(value, dict):
        return ""
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text if len(text) <= most else text[:most] if cut else ""
