"""A table that forgets: by age, and the oldest first when it is full."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """
    Values by key, in the order in which they were put.

    Time is a parameter, in monotonic seconds; what is too old goes when something new comes, so
    there is no timer and the cost of a call does not depend on the size.

    Args:
        limit: Values kept at most.
        lifetime: Seconds that a value is kept.
    """

    def __init__(self, *, limit: int, lifetime: float) -> None:
        self._limit = limit
        self._lifetime = lifetime
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K, now: float) -> V | None:
        """Return the value unless it is unknown or too old."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and now - entry[0] < self._lifetime else None

    def put(self, key: K, value: V, now: float) -> None:
        """Keep a value from now on, in place of what the key had, and forget what is due."""
        entries = self._entries
        if key in entries:
            del entries[key]
        entries[key] = (now, value)
        horizon = now - self._lifetime
        while len(entries) > self._limit or next(iter(entries.values()))[0] <= horizon:
            entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop a value if it is there."""
        self._entries.pop(key, None)
