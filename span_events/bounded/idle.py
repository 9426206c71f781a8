"""Idle timers: items that expire after a period without a refresh."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class IdleTimers(Generic[T]):
    """
    Time of the last refresh of each item. Each item has one of a few lifetimes (seconds).

    The cost of every method is independent of the number of items.
    """

    def __init__(self) -> None:
        self._queues: dict[float, OrderedDict[T, float]] = {}  # by lifetime; the item refreshed longest ago is first
        self._lifetimes: dict[T, float] = {}

    def __len__(self) -> int:
        return len(self._lifetimes)

    def __contains__(self, thing: T) -> bool:
        return thing in self._lifetimes

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items."""
        return iter(self._lifetimes)

    def touch(self, thing: T, now: float, lifetime: float | None = None) -> None:
        """
        Refresh an item.

        Args:
            now: Monotonic seconds.
            lifetime: Seconds until expiry without a refresh; None keeps the present lifetime.
        """
        if lifetime is None:
            lifetime = self._lifetimes[thing]
        self.drop(thing)
        self._lifetimes[thing] = lifetime
        self._queues.setdefault(lifetime, OrderedDict())[thing] = now

    def drop(self, thing: T) -> None:
        """Forget something, if it is there."""
        lifetime = self._lifetimes.pop(thing, None)
        if lifetime is not None:
            del self._queues[lifetime][thing]

    def quietest(self) -> T | None:
        """Return the item refreshed longest ago."""
        first = [next(iter(queue.items())) for queue in self._queues.values() if queue]
        return min(first, key=lambda each: each[1])[0] if first else None

    def due(self, now: float, *, limit: float = math.inf) -> list[T]:
        """Return expired items, up to a number."""
        due: list[T] = []
        for lifetime, queue in self._queues.items():
            for thing, heard in queue.items():
                if heard + lifetime > now or len(due) >= limit:
                    break
                due.append(thing)
        return due

    def take_due(self, now: float, *, limit: float = math.inf) -> list[T]:
        """Remove and return expired items, up to a number."""
        due = self.due(now, limit=limit)
        for thing in due:
            self.drop(thing)
        return due
