"""
Whose attachment it is: the SIM and the hardware that the mobile core saw, against those that are configured.

The SIM has proven itself to the network, the hardware only says what it is. So the IMSI decides, and an
IMEI by itself is a convenience for devices whose SIM is not known yet.
"""

from __future__ import annotations

from dataclasses import dataclass

from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import ImeiMismatch, ImsiMismatch
from span_events.events.reasons import CiotRejectedReason
from span_events.registry.model import Device
from span_events.wire import imei as hardware

Mismatch = ImeiMismatch | ImsiMismatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """What follows from the numbers that were seen."""

    device: Device | None = None
    """Who attaches; None: nobody that we know, or nobody that has proven it."""
    mismatches: tuple[Mismatch, ...] = ()
    """Devices whose SIM or hardware is not theirs; also beside a device that attaches rightly."""
    rejected: CiotRejectedReason | None = None
    """Why nobody attaches, if it is not a mismatch."""
    origin: Origin = UNATTRIBUTED
    """Whom the rejection belongs to."""
    ambiguous_with: Device | None = None
    """Another device, without an IMSI, whose hardware this is: it was meant, or is configured twice."""


def decide(imsi: str, imei: str, *, of_imsi: Device | None, of_imei: Device | None) -> Match:
    """
    Find who attaches.

    Args:
        imsi: What was seen; empty is none, or not a valid one.
        imei: 15 digits with the right check digit, or empty.
        of_imsi: The device that is configured with this IMSI.
        of_imei: The device that is configured with this IMEI.
    """
    if of_imsi is not None:
        return _of_sim(of_imsi, imsi, imei, of_imei)
    if of_imei is None:
        nobody = CiotRejectedReason.UNKNOWN_DEVICE if imsi or imei else CiotRejectedReason.NO_IMSI
        return Match(rejected=nobody)
    if not of_imei.config.imsi:
        return Match(device=of_imei)
    if not imsi:
        return Match(rejected=CiotRejectedReason.NO_IMSI, origin=of_imei.origin)
    return Match(mismatches=(_other_sim(of_imei, imsi, imei),))


def _of_sim(device: Device, imsi: str, imei: str, of_imei: Device | None) -> Match:
    expected = device.config.imei
    if expected and imei and not hardware.same_hardware(expected, imei):
        mismatch = ImeiMismatch(origin=device.origin, imsi=imsi, imei=imei, expected_imei=hardware.canonical(expected))
        return Match(mismatches=(mismatch,))
    if of_imei is None or of_imei is device:
        return Match(device=device)
    if of_imei.config.imsi:
        return Match(device=device, mismatches=(_other_sim(of_imei, imsi, imei),))
    return Match(device=device, ambiguous_with=of_imei)


def _other_sim(device: Device, imsi: str, imei: str) -> ImsiMismatch:
    return ImsiMismatch(origin=device.origin, imsi=imsi, imei=imei, expected_imsi=device.config.imsi)
