"""
Rules of translation: the kind of ChirpStack event of each of ours, and level and code of its log events.

An event without a device has no counterpart. Neither have the gateway's halves of a message, since the device's half
follows: a reader would count the message twice.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from span_events.events import catalogue
from span_events.events.activity import Event, Severity, severity_of
from span_events.events.reasons import DownlinkState, DownstreamFailedReason, NetworkLogReason


class Kind(StrEnum):
    """The types of ChirpStack's events, as topics and queries spell them."""

    UP = "up"
    JOIN = "join"
    ACK = "ack"
    TXACK = "txack"
    LOG = "log"
    STATUS = "status"
    LOCATION = "location"
    INTEGRATION = "integration"
    """Up to ChirpStack 4.14."""


_KINDS: Final[MappingProxyType[type[Event], Kind]] = MappingProxyType(
    {
        catalogue.UpstreamMessage: Kind.UP,
        catalogue.CiotConnect: Kind.JOIN,
        catalogue.DeviceJoined: Kind.JOIN,
        catalogue.DownstreamMessage: Kind.TXACK,
        catalogue.DeviceStatus: Kind.STATUS,
        catalogue.DeviceLocation: Kind.LOCATION,
    }
)
"""Kinds of event classes; the others are log or integration events."""
UNMAPPED: Final = frozenset(
    {catalogue.GatewayUpstreamMessage.name, catalogue.GatewayDownstreamMessage.name, catalogue.EventsDropped.name}
)
"""Names of events that have no counterpart."""
_LEVELS: Final = {Severity.ERROR: "ERROR", Severity.WARNING: "WARNING"}
_CODES: Final[MappingProxyType[type[Event], str]] = MappingProxyType(
    {
        catalogue.ImeiMismatch: "OTAA",
        catalogue.ImsiMismatch: "OTAA",
        catalogue.CiotRejected: "OTAA",
        catalogue.MessageDuplicate: "UPLINK_F_CNT_RETRANSMISSION",
        catalogue.GatewayCommError: "DOWNLINK_GATEWAY",
    }
)


def kind_of(event: Event, *, integration: bool) -> Kind | None:
    """
    Return the kind of an event; None if it has no counterpart.

    Args:
        integration: Events of ours without a counterpart in LoRaWAN are `Kind.INTEGRATION`, in place of `Kind.LOG`.
    """
    if event.origin.device_id is None or event.origin.collection_id is None or event.name in UNMAPPED:
        return None
    if isinstance(event, catalogue.DownstreamAck):
        return Kind.TXACK if event.state is DownlinkState.TRANSMITTED else Kind.ACK
    if integration and not isinstance(event, catalogue.NetworkLog):
        return _KINDS.get(type(event), Kind.INTEGRATION)
    return _KINDS.get(type(event), Kind.LOG)


def level_of(event: Event) -> str:
    """Return the level of a log event."""
    return _LEVELS.get(severity_of(event), "INFO")


def code_of(event: Event) -> str:
    """Return the code of a log event."""
    if isinstance(event, catalogue.NetworkLog):
        return event.reason.code
    if isinstance(event, catalogue.DownstreamFailed) and event.reason is DownstreamFailedReason.EXPIRED:
        return "EXPIRED"
    return _CODES.get(type(event), "UNKNOWN")


LOG_REASONS: Final[MappingProxyType[str, NetworkLogReason]] = MappingProxyType(
    {each.code: each for each in NetworkLogReason if each.code != "UNKNOWN"}
)
"""Reasons by ChirpStack's code."""
_OTHERS: Final = {"ERROR": NetworkLogReason.OTHER_ERROR, "WARNING": NetworkLogReason.OTHER_WARNING}


def log_reason_of(code: str, level: str) -> NetworkLogReason:
    """Return the reason of a code; an unknown code has that of its level."""
    return LOG_REASONS.get(code) or _OTHERS.get(level, NetworkLogReason.OTHER)
