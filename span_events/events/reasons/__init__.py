"""Reasons of failures and ends: closed sets of words, each with its meaning and the next thing to try."""

from span_events.events.reasons.cellular import CiotDisconnectReason, CiotRejectedReason
from span_events.events.reasons.devices import (
    ClientRejectedReason,
    ConflictReason,
    DisconnectReason,
    DownstreamFailedReason,
    DuplicateReason,
    MessageRejectedReason,
)
from span_events.events.reasons.firmware import FirmwareState
from span_events.events.reasons.gateways import GatewayReason, GatewayRejectedReason
from span_events.events.reasons.networks import DownlinkState, NetworkLogReason
from span_events.events.reasons.outputs import OutputReason
from span_events.events.reasons.streams import DroppedReason

__all__ = [
    "CiotDisconnectReason",
    "CiotRejectedReason",
    "ClientRejectedReason",
    "ConflictReason",
    "DisconnectReason",
    "DownlinkState",
    "DownstreamFailedReason",
    "DroppedReason",
    "DuplicateReason",
    "FirmwareState",
    "GatewayReason",
    "GatewayRejectedReason",
    "MessageRejectedReason",
    "NetworkLogReason",
    "OutputReason",
]
