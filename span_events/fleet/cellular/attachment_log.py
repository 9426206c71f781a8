"""
The log lines of attachments: one at the start, one with totals at the end.

Both are at DEBUG: a mobile core reports thousands of attachments a second when a node of it restarts.
"""

from __future__ import annotations

from typing import Final

from span_events.events.reasons import CiotDisconnectReason
from span_events.ids import render
from span_events.log import get_logger
from span_events.registry.model import Attachment

log = get_logger("cellular")

_IMSI_DIGITS: Final = 5
"""Digits of an IMSI in the log: they name the network, not the subscriber."""


def log_start(attachment: Attachment) -> None:
    """Log the start of an attachment."""
    log.debug("attachment_started", **_fields(attachment))


def log_end(attachment: Attachment, reason: CiotDisconnectReason, seconds: int) -> None:
    """Log the end of an attachment; ``received`` counts the input of its device, and its new sessions."""
    device = attachment.device
    received = device.traffic.signs_of_life - attachment.signs if device else 0
    log.debug("attachment_ended", **_fields(attachment), reason=reason.value, seconds=seconds, received=received)


def _fields(attachment: Attachment) -> dict[str, str]:
    device = attachment.device
    return {
        "attachment": render(attachment.id),
        "device": render(device.id) if device else "",
        "nas": attachment.nas,
        "imsi": attachment.imsi[:_IMSI_DIGITS],
        "address": attachment.shown_address,
    }
