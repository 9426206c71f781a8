"""The firmware updates of a fleet: one device after the other, and those that stopped again, later."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from span_events.simulator.coap import Timing
from span_events.simulator.firmware.device import Ended, Mishap, Outcome, UpdatingDevice
from span_events.simulator.sockets import Address
from span_events.simulator.terminals import Terminal

FIRST_VERSION: Final = "1.0.0"
"""Version of a device before its first update."""
IMAGE_OCTETS: Final = 20_480
"""Size of the images that simulations make: 40 blocks, so each tenth of a download causes an event."""
_OURS: Final = re.compile(r"1\.(\d{1,9})\.0")


@dataclass(frozen=True, slots=True)
class Pace:
    """Pace of updates, slow enough to watch. Seconds."""

    device: float = 0.5
    """Mean pause between two devices."""
    block: float = 0.0
    """Pause between two blocks of a download."""
    restart: float = 0.0
    """Duration of the restart between download and next report."""


class Updates:
    """
    The updates of a fleet's devices.

    Args:
        target: Where devices report.
        timing: When they send again.
    """

    def __init__(self, target: Address, *, pace: Pace, timing: Timing) -> None:
        self._target = target
        self._pace = pace
        self._timing = timing
        self._waiting: deque[Terminal] = deque()
        self._stopped: dict[str, UpdatingDevice] = {}

    def add(self, terminals: Iterable[Terminal]) -> None:
        """Queue devices for an update; those without a version are left out."""
        self._waiting.extend(each for each in terminals if each.version)

    def close(self) -> None:
        """Release every socket, and clear the queue; idempotent."""
        self._waiting.clear()
        while self._stopped:
            self._stopped.popitem()[1].close()

    @property
    def is_done(self) -> bool:
        """True if the queue is empty."""
        return not self._waiting

    def next(self) -> Terminal | None:
        """Take the first queued device that can update now; None if none can. Muted devices leave the queue."""
        self._waiting = deque(each for each in self._waiting if not each.muted)
        ready = next((each for each in self._waiting if each.is_on and not each.is_aside), None)
        if ready is not None:
            self._waiting.remove(ready)
        return ready

    def has_stopped(self, terminal: Terminal) -> bool:
        """Return whether a device is in the middle of a download."""
        return terminal.member.address in self._stopped

    async def update(self, terminal: Terminal, mishap: Mishap | None = None) -> Ended:
        """
        Let a device report and update itself, exclusively.

        A device that stopped, or got no reply, is queued again. Cancelling closes its socket.

        Raises:
            AddressUnavailable: The device's address is not one of this machine.
        """
        with terminal.aside():
            device = self._device_of(terminal)
            try:
                ended = await device.update(mishap)
                terminal.version = device.version
                if ended.outcome is Outcome.STALLED:
                    self._stopped[terminal.member.address] = device
            finally:
                if not self.has_stopped(terminal):
                    device.close()
        if ended.outcome in (Outcome.STALLED, Outcome.FAILED):
            self._waiting.append(terminal)
        return ended

    def _device_of(self, terminal: Terminal) -> UpdatingDevice:
        """Resume a stopped update, unless the device has another address by now."""
        device = self._stopped.pop(terminal.member.address, None)
        if device is not None and device.address == terminal.address:
            return device
        if device is not None:
            device.close()
        return UpdatingDevice(
            terminal.address,
            self._target,
            version=terminal.version,
            pause=self._pace.block,
            restart=self._pace.restart,
            timing=self._timing,
        )


def next_version(versions: Iterable[str]) -> str:
    """Return a version above all of these: 1.1.0, 1.2.0 and so on."""
    numbers = [int(found[1]) for found in map(_OURS.fullmatch, versions) if found]
    return f"1.{max(numbers, default=0) + 1}.0"
