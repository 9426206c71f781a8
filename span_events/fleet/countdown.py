"""Who has been given a time: the same for all, begun anew by whatever they do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from span_events.registry.model import Device


class Countdown:
    """
    Devices that something is expected of, the one that is due first in front. Time is monotonic seconds.

    Args:
        seconds: How long a device has.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: OrderedDict[Device, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._due)

    def __iter__(self) -> Iterator[Device]:
        """Iterate over those that have not done it yet."""
        return iter(self._due)

    def start(self, device: Device, now: float, *, spent: float = 0.0) -> None:
        """
        Give a device its time, all of it again if it had some.

        Args:
            spent: Seconds of it that are over; devices that have spent some are started most spent first.
        """
        self._due[device] = now + self._seconds - spent
        self._due.move_to_end(device)

    def stop(self, device: Device) -> None:
        """Expect nothing of a device any more."""
        self._due.pop(device, None)

    def take_due(self, now: float) -> Iterator[Device]:
        """Remove and yield those whose time is over."""
        while self._due:
            device, due = next(iter(self._due.items()))
            if due > now:
                return
            del self._due[device]
            yield device
