"""
Rules of translation: the name, the rights and the failure code of each of our events at The Things Stack.

A name with the mark *extension* in the guide follows the original's grammar without being in its catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from span_events.events import catalogue
from span_events.events.activity import Event, Severity
from span_events.events.catalogue import CertificateExpiring, FirmwareStateChange, GatewayDisconnected

_DEVICES: Final = ("RIGHT_APPLICATION_DEVICES_READ",)
_TRAFFIC: Final = ("RIGHT_APPLICATION_TRAFFIC_READ",)
_LINK: Final = ("RIGHT_GATEWAY_LINK", "RIGHT_GATEWAY_STATUS_READ")
_STATUS: Final = ("RIGHT_GATEWAY_STATUS_READ",)
_INFO: Final = ("RIGHT_GATEWAY_INFO",)
_GATEWAY_TRAFFIC: Final = ("RIGHT_GATEWAY_TRAFFIC_READ",)


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """
    The translation of an event; compared by identity, as it is a key of caches on the hot path.

    Args:
        name: Name at The Things Stack.
        rights: A caller with one of these sees the event.
        code: google.rpc.Code of the failure that the event reports; None if its data is a plain value.
    """

    name: str
    rights: tuple[str, ...] = _TRAFFIC
    code: int | None = None
    of_gateway: bool = field(init=False)
    """True if the event belongs to its gateway first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "of_gateway", self.name.startswith("gs."))


_EXPLICIT: Final[dict[type[Event], tuple[Rule, ...]]] = {
    catalogue.ImeiMismatch: (Rule("js.join.reject", code=7),),
    catalogue.ImsiMismatch: (Rule("js.join.reject", code=7),),
    catalogue.CiotConnect: (Rule("ns.up.join.process"),),
    catalogue.ClientConnected: (Rule("as.end_device.connect"),),
    catalogue.ClientDisconnected: (Rule("as.end_device.disconnect"),),
    catalogue.UpstreamMessage: (Rule("as.up.data.forward"),),
    catalogue.DownstreamMessage: (Rule("as.down.data.forward"),),
    catalogue.FirmwareRequested: (Rule("as.packages.fota.v1.image.cmd_received"),),
    catalogue.FirmwareCheck: (Rule("as.packages.fota.v1.version.cmd_received"),),
    catalogue.FirmwareUpdateRequired: (Rule("as.packages.fota.v1.update.attempt"),),
    catalogue.FirmwareCurrent: (Rule("as.packages.fota.v1.update.success"),),
    FirmwareStateChange: (
        Rule("as.packages.fota.v1.state.update"),
        Rule("as.packages.fota.v1.update.fail", code=10),
    ),
    catalogue.BlobUpload: (Rule("as.packages.storage.up.store"),),
    catalogue.DeviceCreated: (Rule("end_device.create", _DEVICES),),
    catalogue.DeviceUpdated: (Rule("end_device.update", _DEVICES),),
    catalogue.DeviceRemoved: (Rule("end_device.delete", _DEVICES),),
    catalogue.DeviceMoved: (Rule("end_device.update", _DEVICES),),
    catalogue.GatewayConnected: (Rule("gs.gateway.connect", _LINK),),
    GatewayDisconnected: (
        Rule("gs.gateway.disconnect", _LINK),
        Rule("gs.gateway.disconnect", _LINK, code=14),
    ),
    catalogue.GatewayDeviceUpdate: (Rule("gs.gateway.device.update", _INFO),),
    catalogue.GatewayUpstreamMessage: (Rule("gs.up.receive", _GATEWAY_TRAFFIC),),
    catalogue.GatewayDownstreamMessage: (Rule("gs.down.send", _GATEWAY_TRAFFIC),),
    catalogue.GatewayConfigUpdate: (Rule("gs.gateway.config.update", _INFO),),
    catalogue.GatewayCommError: (Rule("gs.gateway.connection.fail", _STATUS, code=14),),
    catalogue.ClientRejected: (Rule("as.end_device.connect.fail", code=16),),
    catalogue.MessageRejected: (Rule("as.up.data.drop", code=3),),
    catalogue.ClientAddressChanged: (Rule("as.end_device.address.update"),),
    catalogue.ClientSilent: (Rule("as.end_device.silent.warning"),),
    catalogue.MessageDuplicate: (Rule("as.up.data.repeat"),),
    catalogue.DownstreamQueued: (Rule("as.down.data.receive"),),
    catalogue.DownstreamFailed: (Rule("as.down.data.drop", code=10),),
    CertificateExpiring: (
        Rule("as.end_device.certificate.warning"),
        Rule("gs.gateway.certificate.warning", _STATUS),
    ),
    catalogue.CiotDisconnect: (Rule("ns.end_device.disconnect"),),
    catalogue.CiotRejected: (Rule("js.join.reject", code=7),),
    catalogue.IdentityConflict: (Rule("as.end_device.identity.warning"),),
    catalogue.CiotAddressChanged: (Rule("ns.end_device.address.update"),),
    catalogue.GatewayRejected: (Rule("gs.gateway.connect.fail", _LINK, code=16),),
    catalogue.DeviceJoined: (Rule("ns.up.join.process"),),
    catalogue.DeviceStatus: (Rule("ns.mac.dev_status.answer"),),
    catalogue.DeviceLocation: (Rule("as.up.location.forward"),),
    catalogue.DownstreamAck: (
        Rule("as.down.data.ack.forward"),
        Rule("as.down.data.nack.forward"),
    ),
    catalogue.NetworkLog: (Rule("as.up.service.forward"),),
    catalogue.EventsDropped: (Rule("events.stream.drop", (), code=8),),
    catalogue.OutputFailed: (Rule("as.webhook.fail", code=14),),
    catalogue.OutputRecovered: (Rule("as.webhook.recover"),),
}


def default_rule(event: type[Event]) -> Rule:
    """Return the rule of an event without an explicit one: its name is made of the event's own."""
    snake = "".join(f"_{each.lower()}" if each.isupper() else each for each in event.name)
    return Rule(f"as.end_device.{snake}.{'warning' if event.severity >= Severity.WARNING else 'update'}")


RULES: Final[MappingProxyType[type[Event], tuple[Rule, ...]]] = MappingProxyType(
    {each: _EXPLICIT.get(each) or (default_rule(each),) for each in catalogue.CATALOGUE.values()}
)
"""The rules of each event class; of two, `_SECOND` chooses."""

_SECOND: Final[dict[type[Event], Callable[[Any], bool]]] = {
    FirmwareStateChange: lambda event: event.state.severity is not None,  # an update that failed or stands still
    GatewayDisconnected: lambda event: event.reason is not None and not event.reason.is_orderly,
    catalogue.DownstreamAck: lambda event: event.state.severity is not None,
    CertificateExpiring: lambda event: event.origin.device_id is None and event.origin.gateway_id is not None,
}
_ONLY: Final = {event: rules[0] for event, rules in RULES.items() if len(rules) == 1}

UNFILTERED: Final = frozenset({"events.stream.start", "events.stream.drop"})
"""Names of events about the stream itself: always sent, never in a filter."""
NAMES: Final = frozenset(rule.name for rules in RULES.values() for rule in rules) - UNFILTERED
"""The names that this server publishes."""


def rule_of(event: Event) -> Rule:
    """Return the rule of an event."""
    rule = _ONLY.get(type(event))
    if rule is None:
        rule = RULES[type(event)][_SECOND[type(event)](event)]
    return rule
