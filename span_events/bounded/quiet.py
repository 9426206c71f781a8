"""Log lines that many clients can cause: one a minute for each key, the others are counted."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

_MINUTE: Final = 60.0


class OncePerMinute:
    """
    Admits one line a minute for each key.

    Time is a parameter, in monotonic seconds.

    Args:
        keys: Upper bound of keys in a minute; the others share one line.
    """

    def __init__(self, keys: int) -> None:
        self._keys = keys
        self._lines: OrderedDict[Hashable, float] = OrderedDict()  # when the next line of a key is due
        self._silent: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def admits(self, key: Hashable, now: float) -> int:
        """Return how many occurrences a line now stands for, this one included; 0 for no line."""
        while self._lines and next(iter(self._lines.values())) <= now - _MINUTE:  # nothing happened for a minute
            self._silent.pop(self._lines.popitem(last=False)[0], None)
        if key not in self._lines and len(self._lines) >= self._keys:
            key = None
        if now < self._lines.get(key, now):
            self._silent[key] = self._silent.get(key, 0) + 1
            return 0
        self._lines[key] = now + _MINUTE
        self._lines.move_to_end(key)
        return self._silent.pop(key, 0) + 1
