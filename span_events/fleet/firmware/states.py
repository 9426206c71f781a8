"""
Firmware states: enter, publish, time and store the state of each device.

A state is a handful of numbers in the device's registry entry, written in batches: when the state changes, every tenth
of a download, and when the server stops. So a download costs the registry nothing for each block, and no memory.

Of several nodes, one times the state of a device: ``firmware.node``, from which the device downloads. It writes the
progress every few seconds, for the node that takes over.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from span_events.bounded.expiring import ExpiringMap
from span_events.bounded.idle import IdleTimers
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import FirmwareConfig
from span_events.events.catalogue import FirmwareStateChange
from span_events.events.reasons import FirmwareState
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.firmware.rules import percent, state_of
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Device, FirmwareMetadata, Image

_WRITTEN_EVERY_MS: Final = 5_000
"""Milliseconds of a download that other nodes may not know yet."""
_REPEATING: Final = 10_000
"""Devices that ask for one block again and again, at most; beyond it, the oldest count is dropped."""


class FirmwareStates:
    """
    The single writer of ``firmware.state``.

    Args:
        node: Name of this node among those that share the registry; empty if it is the only one.
    """

    def __init__(
        self, config: FirmwareConfig, *, reception: Reception, bus: Bus, directory: Directory, clock: Clock, node: str
    ) -> None:
        self._node = node
        self._reception = reception
        self._bus = bus
        self._directory = directory
        self._clock = clock
        self._timeouts = {
            FirmwareState.DOWNLOADING: config.stall_timeout,
            FirmwareState.UPDATING: config.update_timeout,
        }
        self._under_way: dict[FirmwareState, IdleTimers[Device]] = {state: IdleTimers() for state in self._timeouts}
        self._elsewhere: dict[Device, int] = {}  # under way at other nodes: when they should have timed out
        self._repeats: ExpiringMap[int, int] = ExpiringMap(limit=_REPEATING, lifetime=2 * config.stall_timeout)
        self.entered: dict[str, int] = {state.value: 0 for state in FirmwareState}
        """Number of entries into each state."""
        self.taken_over = 0

    @property
    def now_ms(self) -> int:
        """Unix time, milliseconds."""
        return self._clock.time_ns() // 1_000_000

    def enter(
        self,
        device: Device,
        state: FirmwareState,
        image: Image | None,
        message: str,
        *,
        cause: int | None,
        repeat: bool = False,
        progress: bool = False,
        seconds: int | None = None,
        repeated: bool = False,
    ) -> None:
        """
        Put a device into a state, and publish it.

        Args:
            image: Image to which the state belongs.
            message: Text for people.
            repeat: True to publish even if the device is in this state already.
            progress: True to publish the progress of the download.
            seconds: Seconds of silence, if they are the cause.
            repeated: True to name the last block as one that the device asked for again and again.
        """
        firmware = device.firmware
        firmware.state_image_id = image.id if image else 0
        before = state_of(firmware)
        if state is before and not repeat:
            return
        if state is not before:
            if before in self._under_way:
                self._under_way[before].drop(device)
            if state in self._under_way:
                self._begin(device, state)
            firmware.state, firmware.state_ms = state.value, self.now_ms
            self.entered[state.value] += 1
        firmware.state_message = message
        self._reception.changed(device)
        self._bus.publish(
            FirmwareStateChange(
                origin=device.origin,
                correlation_id=cause,
                from_state=before.value,
                state=state,
                message=message,
                block=firmware.download_block if progress else None,
                block_size=(firmware.download_block_size or None) if progress else None,
                percent=percent(firmware, image) if progress and image else None,
                repeated_block=firmware.download_block if repeated else None,
                seconds=seconds,
                version=firmware.firmware_version or None,
                target_version=image.version if image else None,
            )
        )

    def progressed(self, device: Device) -> None:
        """Note the time of a block."""
        firmware, now_ms = device.firmware, self.now_ms
        if self._node and now_ms // _WRITTEN_EVERY_MS != firmware.download_ms // _WRITTEN_EVERY_MS:
            self._reception.changed(device)
        firmware.download_ms = now_ms

    def block_served(self, device: Device) -> None:
        """A device that downloads was given another block: its time begins anew."""
        self._begin(device, FirmwareState.DOWNLOADING)

    def block_repeated(self, device: Device) -> int:
        """Count a request for the same block as before; return the number of such requests in a row."""
        now = self._clock.monotonic()
        repeats = (self._repeats.get(device.id, now) or 0) + 1
        self._repeats.put(device.id, repeats, now)
        return repeats

    def block_arrived(self, device: Device) -> None:
        """Note that a device asked for another block."""
        self._repeats.forget(device.id)

    def forget(self, device: Device) -> None:
        """Drop the timers of a removed device."""
        for expiry in self._under_way.values():
            expiry.drop(device)
        self._elsewhere.pop(device, None)

    def prepare(self) -> None:
        """
        Resume the timers of the last process.

        A device that downloads or updates keeps its remaining time. If that ran out while no server ran, it gets all of
        it again: the device may not be at fault.
        """
        now, now_ms = self._clock.monotonic(), self.now_ms
        for state, expiry in self._under_way.items():
            devices = [each for each in self._directory.devices.values() if each.firmware.state == state.value]
            for device in sorted(devices, key=lambda each: each.firmware.download_ms):
                self._begin(device, state, spent=max(0, now_ms - device.firmware.download_ms) / 1000)
            for device in expiry.take_due(now):
                self._begin(device, state)

    def close(self) -> None:
        """Mark the progress of downloads under way for the last batch of writes."""
        for expiry in self._under_way.values():
            for device in expiry:
                self._reception.changed(device)

    def sweep(self) -> None:
        """Run about once a second: publish stalled downloads and updates."""
        for state, expiry in self._under_way.items():
            for device in expiry.take_due(self._clock.monotonic()):
                self._time_out(device, state)

    # ---- a registry that several nodes share --------------------------------------------------

    def prepare_to_share(self) -> None:
        """Note the updates under way. Those whose time ran out while no node led get all of it again, as above."""
        for device in self._directory.devices.values():
            self.shown(device)
            if self._elsewhere.get(device, self.now_ms) < self.now_ms:
                self._elsewhere[device] = self.now_ms + self._time_of(device)

    def shown(self, device: Device) -> None:
        """Leave the timer of a device to the node that has it, after that has written a newer state."""
        state, node = state_of(device.firmware), device.firmware.node
        if state in self._timeouts and node == self._node:
            return
        self.forget(device)
        if state in self._timeouts:
            self._elsewhere[device] = device.firmware.download_ms + self._time_of(device)

    def overdue(self, *, limit: int) -> list[Device]:
        """Return devices that should have timed out at other nodes."""
        now_ms = self.now_ms
        return list(islice((each for each, due_ms in self._elsewhere.items() if due_ms <= now_ms), limit))

    def take(self, device: Device, download_ms: int) -> None:
        """Publish that a device timed out whose node died, unless it went on meanwhile."""
        if device not in self._elsewhere or device.firmware.download_ms != download_ms:
            return
        self.forget(device)
        device.firmware.node = self._node
        self.taken_over += 1
        self._time_out(device, state_of(device.firmware))

    def _time_of(self, device: Device) -> int:
        """Return the milliseconds of a state, and of progress that is not known here."""
        return int(self._timeouts[state_of(device.firmware)] * 1000) + _WRITTEN_EVERY_MS

    def _time_out(self, device: Device, state: FirmwareState) -> None:
        firmware, now = device.firmware, self._clock.monotonic()
        seconds = (self.now_ms - firmware.download_ms) // 1000
        image = self._directory.images.get(firmware.state_image_id)
        if state is FirmwareState.UPDATING:
            message = f"no report came for {seconds} s after the download"
        else:
            at = f"block {firmware.download_block}" + (f" ({percent(firmware, image)} %)" if image else "")
            message = f"no other block was asked for in the {seconds} s after {at}"
        repeats = self._repeats.get(device.id, now) if state is FirmwareState.DOWNLOADING else None
        if repeats:
            message += f"; {not_arriving(firmware, repeats)}"
        self.enter(
            device,
            FirmwareState.TIMED_OUT,
            image,
            message,
            cause=None,
            progress=True,
            seconds=seconds,
            repeated=bool(repeats),
        )

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "firmware_under_way",
                "Devices with an update under way, by state.",
                "gauge",
                lambda: {state.value: len(each) for state, each in self._under_way.items()},
                label="state",
            ),
            Metric(
                "firmware_states",
                "How often devices came into each state of an update.",
                "counter",
                lambda: self.entered,
                label="state",
            ),
            Metric(
                "firmware_taken_over",
                "Updates that this node published as timed out after the node that timed them had died.",
                "counter",
                lambda: self.taken_over,
            ),
        ]

    def _begin(self, device: Device, state: FirmwareState, *, spent: float = 0.0) -> None:
        """Give a device the time that a state has, less the seconds of it that are over."""
        if device.firmware.node != self._node:
            device.firmware.node = self._node
            self._elsewhere.pop(device, None)
            self._reception.changed(device)
        self._under_way[state].touch(device, self._clock.monotonic() - spent, self._timeouts[state])


def not_arriving(firmware: FirmwareMetadata, repeats: int) -> str:
    """Return the sentence about a block that a device asks for again and again."""
    size = firmware.download_block_size
    return f"asked {repeats + 1} times for it: answers of {size} octets do not arrive: smaller blocks"
