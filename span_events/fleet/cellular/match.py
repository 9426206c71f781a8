"""
Match: finds the device of an attachment by comparing reported IMSI and IMEI with the configured ones.

The network authenticates the SIM; the hardware only states its IMEI. So the IMSI decides, and an IMEI alone
matches only devices without a configured IMSI.
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
    """The result of comparing reported with configured numbers."""

    device: Device | None = None
    """The device that attaches; None for an unknown or mismatched subscriber."""
    mismatches: tuple[Mismatch, ...] = ()
    """Devices with a foreign SIM or foreign hardware; also reported beside a device that matches."""
    rejected: CiotRejectedReason | None = None
    """Reason for the rejection, if it is not a mismatch."""
    origin: Origin = UNATTRIBUTED
    """Origin of the rejection's event."""
    ambiguous_with: Device | None = None
    """Another device with the same IMEI and no IMSI: a duplicate, or the device that should have matched."""


def decide(imsi: str, imei: str, *, of_imsi: Device | None, of_imei: Device | None) -> Match:
    """
    Find the device that attaches.

    Args:
        imsi: Reported IMSI; empty if missing or invalid.
        imei: 15 digits with the right check digit, or empty.
        of_imsi: The device configured with this IMSI.
        of_imei: The device configured with this IMEI.
    """
    if of_imsi is not None:
        return _of_sim(of_imsi, imsi, imei, of_imei)
    if of_imei is None:
        rejected = CiotRejectedReason.UNKNOWN_DEVICE if imsi or imei else CiotRejectedReason.NO_IMSI
        return Match(rejected=rejected)
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
