"""Throttle: limits events about the same fault of a sender to a burst, then one summary per window."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from span_events.events.activity import Event


@dataclass(slots=True)
class _Window:
    ends: float
    published: int = 0
    suppressed: int = 0
    example: Event | None = None


class Throttle:
    """
    Decides which events are published one by one, and counts the suppressed ones.

    Args:
        burst: Events published one by one per key and window.
        seconds: Length of a window.
        keys: Upper bound of open windows; beyond it, events are only counted.
    """

    def __init__(self, *, burst: int, seconds: float, keys: int) -> None:
        self._burst = burst
        self._seconds = seconds
        self._keys = keys
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()  # in the order in which they end
        self.untold = 0
        """Number of events missing in every summary, because `keys` was reached."""

    def __len__(self) -> int:
        return len(self._windows)

    def admits(self, key: Hashable, now: float, *, burst: int | None = None) -> bool:
        """
        Return whether an event may be published now; count it otherwise.

        Args:
            key: Sender and fault.
            now: Monotonic seconds.
            burst: Another burst than the usual one.
        """
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._keys:
                self.untold += 1
                return False
            window = self._windows[key] = _Window(now + self._seconds)
        if window.published < (self._burst if burst is None else burst):
            window.published += 1
            return True
        window.suppressed += 1
        return False

    def remember(self, key: Hashable, event: Event) -> None:
        """Store a published event as the template for the summary of its window."""
        self._windows[key].example = event

    def forget(self, key: Hashable) -> None:
        """Close a window whose event was not published."""
        del self._windows[key]

    def summaries(self, now: float) -> list[Event]:
        """Close expired windows; return one event with a ``count`` for each window that suppressed any."""
        found: list[Event] = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > now:
                break
            del self._windows[key]
            if window.suppressed and window.example is not None:
                example: Any = window.example  # all throttled events with a template have a count
                found.append(dataclasses.replace(example, count=window.suppressed, correlation_id=None))
        return found
