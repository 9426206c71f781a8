"""
Silence: publishes clientSilent for devices that attached and then sent nothing.

Accepted and rejected messages, polls, new sessions, reports and downloads of firmware, and uploads are signs of life.
Of several nodes, the leader publishes. It finds accepted messages, DTLS sessions and firmware in the registry, and
asks the other nodes for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson

from span_events.bounded.idle import IdleTimers
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.events.activity import Moment
from span_events.events.catalogue import ClientSilent
from span_events.fleet.cellular.attachment_index import AttachmentIndex
from span_events.fleet.others import OtherNodes
from span_events.registry.model import Attachment, Device
from span_events.registry.registry import Registry

_SLICE: Final = 1_000
"""Upper bound of attachments that one sweep checks; the next sweep checks the rest."""
_KEPT: Final = 60.0
"""Seconds that a node keeps a due check, in case that it becomes the leader before another leader has checked."""
_HEARD: Final = "heard"
"""Kind of the questions to other nodes."""


class SilenceWatch:
    """
    One timer for each attachment of a device.

    Args:
        seconds: Time after the attachment's start at which the device is checked.
    """

    def __init__(
        self,
        seconds: float,
        *,
        bus: Bus,
        registry: Registry,
        index: AttachmentIndex,
        others: OtherNodes,
        clock: Clock,
    ) -> None:
        self._seconds = seconds
        self._bus = bus
        self._registry = registry
        self._index = index
        self._others = others
        self._clock = clock
        self._timers: IdleTimers[Attachment] = IdleTimers()
        others.answer(_HEARD, self._answer)

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

    def sweep(self) -> None:
        """Check the attachments whose time is due; a single node calls this about once a second."""
        for each in self._timers.take_due(self._clock.monotonic(), limit=_SLICE):
            if not _was_heard(each):
                self._publish(each)

    # ---- a registry that several nodes share --------------------------------------------------

    async def lead(self) -> None:
        """
        Check as `sweep` does, if this node is the leader; each node calls this about once a second.

        The registry notes each check, so a new leader repeats none.

        Raises:
            StorageUnavailable: The database cannot be used; the next call tries again.
        """
        now = self._clock.monotonic()
        if not self._registry.leads:
            self._timers.take_due(now - _KEPT, limit=_SLICE)
            return
        due = {each: each.device for each in self._timers.due(now, limit=_SLICE)}
        if not due:
            return
        heard = await self._heard_elsewhere(each for each in due if not _was_heard(each))
        claimed = await self._registry.store.timers.check_silence([each.id for each in due])
        for each, device in due.items():
            if each not in self._timers or each.device is not device:
                continue  # it ended, or is another device's now
            self._timers.drop(each)
            if each.id in claimed and each.id not in heard and not _was_heard(each):
                self._publish(each)

    async def _heard_elsewhere(self, attachments: Iterable[Attachment]) -> set[int]:
        """Return the ids of the attachments whose devices gave a sign of life at another node."""
        question = [(each.device.id, each.id) for each in attachments if each.device is not None]
        answers = await self._others.ask(_HEARD, question) if question else ()
        return {each for answer in answers for each in orjson.loads(answer)}

    def _answer(self, question: list[tuple[int, int]]) -> bytes:
        devices = self._registry.directory.devices
        return orjson.dumps(
            [
                attachment_id
                for device_id, attachment_id in question
                if device_id in devices
                and any(
                    each.id == attachment_id and _was_heard(each) for each in self._index.of_device(devices[device_id])
                )
            ]
        )

    # ---- parts --------------------------------------------------------------------------------

    def _publish(self, attachment: Attachment) -> None:
        device = attachment.device
        assert device is not None, "attachments without a device are not watched"
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


def _was_heard(attachment: Attachment) -> bool:
    """Return whether a device gave a sign of life in its attachment, as this node and the registry know."""
    device = attachment.device
    assert device is not None, "attachments without a device are not watched"
    if device.traffic.signs_of_life != attachment.signs:
        return True
    received_ms, firmware = device.last_received_ns // 1_000_000, device.firmware
    last_ms = max(received_ms, device.inet.last_update, firmware.reported_ms, firmware.download_ms)
    return last_ms >= attachment.attached_ms
