"""Silence: publishes clientSilent for devices that attached and then sent nothing."""

from __future__ import annotations

from typing import Final

from span_events.bounded.idle import IdleTimers
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.events.activity import Moment
from span_events.events.catalogue import ClientSilent
from span_events.registry.model import Attachment, Device

_SLICE: Final = 1_000
"""Upper bound of attachments that one sweep checks; the next sweep checks the rest."""


class SilenceWatch:
    """
    One timer for each attachment of a device.

    Args:
        seconds: Time after the attachment's start at which the device is checked.
    """

    def __init__(self, seconds: float, *, bus: Bus, clock: Clock) -> None:
        self._seconds = seconds
        self._bus = bus
        self._clock = clock
        self._timers: IdleTimers[Attachment] = IdleTimers()

    def resume(self, attachment: Attachment, *, from_start: bool) -> None:
        """
        Watch an attachment of the registry, unless its check was due before.

        Args:
            from_start: True to count from the attachment's start, as other nodes do; False to count from now, as the
                device may have sent while no server ran.
        """
        device, age = attachment.device, self._age(attachment)
        if device is not None and age < self._seconds:
            attachment.signs = device.traffic.signs_of_life
            now = self._clock.monotonic()
            self._timers.touch(attachment, now - age if from_start else now, self._seconds)

    def start(self, attachment: Attachment, device: Device) -> None:
        """Watch an attachment that was assigned to a device."""
        attachment.signs = device.traffic.signs_of_life
        self._timers.touch(attachment, self._clock.monotonic(), self._seconds)

    def stop(self, attachment: Attachment) -> None:
        """Cancel the check of an attachment."""
        self._timers.drop(attachment)

    def sweep(self, *, leads: bool) -> None:
        """
        Check the attachments whose time is due; called about once a second.

        Args:
            leads: True for the one node that publishes. The others take their due timers, too: a node that becomes
                the leader later must not publish those again.
        """
        for each in self._timers.take_due(self._clock.monotonic(), limit=_SLICE):
            if leads:
                self._check(each)

    def _check(self, attachment: Attachment) -> None:
        device = attachment.device
        assert device is not None, "attachments without a device are not watched"
        if _last_input_ms(device) >= attachment.attached_ms or device.traffic.signs_of_life != attachment.signs:
            return
        self._bus.publish(
            ClientSilent(
                origin=device.origin,
                session_id=attachment.id,
                attached_at=Moment(attachment.attached_ms),
                allocated_ip=attachment.shown_address or None,
                seconds=self._age(attachment),
            )
        )

    def _age(self, attachment: Attachment) -> int:
        return max(0, self._clock.time_ns() // 1_000_000 - attachment.attached_ms) // 1000


def _last_input_ms(device: Device) -> int:
    """Return the time of a device's last input that the registry holds: before a restart, or at another node."""
    received_ms, firmware = device.last_received_ns // 1_000_000, device.firmware
    return max(received_ms, device.inet.last_update, firmware.reported_ms, firmware.download_ms)
