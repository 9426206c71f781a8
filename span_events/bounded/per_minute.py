"""A limit per key and minute: for failures of a host, or answers to strangers of one network."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_MINUTE: Final = 60.0


class LimitPerMinute:
    """
    Counts occurrences per key and minute.

    Args:
        limit: Occurrences of one key in a minute; `exceeded` is true from then on.
        keys: Upper bound of keys; beyond it, the key whose minute began first is evicted.
    """

    def __init__(self, limit: int, keys: int) -> None:
        self._limit = limit
        self._keys = keys
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def count(self, key: str, now: float) -> None:
        """Count an occurrence."""
        ends, count = self._counts.get(key, (0.0, 0))
        if now >= ends:
            self._counts.pop(key, None)
            ends, count = now + _MINUTE, 0
        self._counts[key] = (ends, count + 1)
        if len(self._counts) > self._keys:
            self._counts.popitem(last=False)

    def exceeded(self, key: str, now: float) -> bool:
        """Return whether a key has reached the limit in the current minute."""
        ends, count = self._counts.get(key, (0.0, 0))
        return now < ends and count >= self._limit

    def forgive(self, key: str) -> None:
        """Take back an occurrence that was counted."""
        ends, count = self._counts.get(key, (0.0, 0))
        if count:
            self._counts[key] = (ends, count - 1)
