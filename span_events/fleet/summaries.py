"""Summaries: the events about the faults of a sender, published one by one up to a burst, then as counts."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from typing import Any, Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.events.activity import UNATTRIBUTED, Event

KINDS: Final = 20
"""Causes of one sender and reason that are told apart within a window: a sender may invent any number."""
OTHERS: Final = f"other causes, after {KINDS} different ones"
"""Text in place of the cause, in the summary of all further causes."""


class _Cause:
    """Events of one cause within a window."""

    __slots__ = ("example", "suppressed")

    def __init__(self) -> None:
        self.example: Event | None = None
        self.suppressed = 0


class _Window:
    """Events of one sender and reason until a time (monotonic seconds)."""

    __slots__ = ("causes", "ends", "is_stranger", "others", "published")

    def __init__(self, ends: float, *, is_stranger: bool) -> None:
        self.ends = ends
        self.is_stranger = is_stranger
        self.published = 0
        self.causes: dict[Hashable, _Cause] = {}
        self.others = 0


class Summaries:
    """
    Publishes an event unless its sender has exceeded the burst; the rest becomes one event with a ``count``.

    A window belongs to a sender, a reason, and the event's origin: the collection that a device has left does not get
    the counts of the next one. Within it, the first event of each cause is published at once, so that a summary never
    blames one cause for another; up to `KINDS` causes are told apart.

    Args:
        burst: Events of a sender and reason published one by one in a window, besides the first of each cause.
        window: Length of a window, seconds.
        senders: Upper bound of open windows of strangers, and as many of others, so that no flood from forged addresses
            hides the faults of a device; beyond it, events are only counted.
        per_second: Upper bound of new causes a second over all senders; None is no bound.
        others: Fields of the summary of all further causes that replace those of the example, such as its detail;
            without any, further causes are only counted.
    """

    def __init__(
        self,
        *,
        bus: Bus,
        clock: Clock,
        burst: int,
        window: float,
        senders: int,
        per_second: int | None = None,
        others: Mapping[str, Any] | None = None,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._burst = burst
        self._seconds = window
        self._senders = senders
        self._per_second = per_second
        self._others = others
        self._second, self._in_second = 0.0, 0
        self._windows: OrderedDict[tuple[Hashable, str], _Window] = OrderedDict()  # in the order in which they end
        self._strangers = 0
        self.unpublished = 0
        """Number of events in no event, not even as a count, because a limit was reached."""

    def __len__(self) -> int:
        return len(self._windows)

    def admits(
        self,
        sender: Hashable,
        reason: str,
        cause: Hashable = None,
        *,
        burst: int | None = None,
        is_stranger: bool = False,
    ) -> bool:
        """
        Return whether an event may be published now, else count it.

        The caller publishes an admitted event by `add`. This method exists for floods: an event costs ten times as
        much as this look-up.

        Args:
            sender: Has to differ where the origin of the event does.
            cause: All that tells this fault from others with the same reason: detail, device, identity.
            burst: Another burst than the usual one.
            is_stranger: True if no device is known for the sender, or its events have no collection.
        """
        now = self._clock.monotonic()
        window = self._windows.get((sender, reason))
        if window is None:
            open_windows = self._strangers if is_stranger else len(self._windows) - self._strangers
            if open_windows >= self._senders or not self._is_within_rate(now):
                self.unpublished += 1
                return False
            window = self._windows[sender, reason] = _Window(now + self._seconds, is_stranger=is_stranger)
            self._strangers += is_stranger
            window.causes[cause] = _Cause()
            window.published = 1
            return True
        known = window.causes.get(cause)
        if known is None:
            if len(window.causes) >= KINDS or not self._is_within_rate(now):
                window.others += 1
                self.unpublished += self._others is None
                return False
            window.causes[cause] = _Cause()
            window.published += 1
            return True
        if window.published < (self._burst if burst is None else burst):
            window.published += 1
            return True
        known.suppressed += 1
        return False

    def add(self, event: Event, sender: Hashable, reason: str, cause: Hashable = None) -> None:
        """Publish an admitted event; the summary of its cause will be like it."""
        self._windows[sender, reason].causes[cause].example = event
        self._bus.publish(event)

    def publish(self, event: Event, sender: Hashable, reason: str, cause: Hashable = None) -> None:
        """Publish an event, or count it; the other arguments are those of `admits`."""
        owner = (sender, event.origin)
        if self.admits(owner, reason, cause, is_stranger=event.origin == UNATTRIBUTED):
            self.add(event, owner, reason, cause)

    def sweep(self) -> None:
        """Close expired windows and publish their summaries; called about once a second."""
        now = self._clock.monotonic()
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if window.ends > now:
                return
            del self._windows[key]
            self._strangers -= window.is_stranger
            examples = [each for each in window.causes.values() if each.example is not None]
            for each in examples:
                if each.suppressed:
                    self._summarise(each.example, each.suppressed, {})
            if window.others and examples and self._others is not None:
                self._summarise(examples[0].example, window.others, self._others)

    def _summarise(self, example: Any, count: int, changes: Mapping[str, Any]) -> None:  # each such event has a count
        self._bus.publish(dataclasses.replace(example, count=count, correlation_id=None, **changes))

    def _is_within_rate(self, now: float) -> bool:
        if self._per_second is None:
            return True
        if now >= self._second + 1.0:
            self._second, self._in_second = now, 0
        self._in_second += 1
        return self._in_second <= self._per_second
