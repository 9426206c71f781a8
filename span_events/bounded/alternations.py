"""Alternations: notices when something is used from two places in turn."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
P = TypeVar("P")


@dataclass(slots=True)
class _Use(Generic[P]):
    place: P
    seen: float
    other: P | None = None
    other_seen: float = 0.0


class Alternations(Generic[K, P]):
    """
    The last two places of each key.

    A move from A to B is no alternation: a device got another address. B, then A again, is one: two devices use
    the key. Time is a parameter, in monotonic seconds.

    Args:
        limit: Upper bound of keys; beyond it, the one unused for longest is forgotten.
        within: Seconds between two uses of a place beyond which its return is a move.
    """

    def __init__(self, *, limit: int, within: float) -> None:
        self._limit = limit
        self._within = within
        self._uses: OrderedDict[K, _Use[P]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._uses)

    def note(self, key: K, place: P, now: float) -> P | None:
        """Record a use; return the other place if this place returned after the other was used."""
        use = self._uses.get(key)
        if use is None:
            self._uses[key] = _Use(place, now)
            if len(self._uses) > self._limit:
                self._uses.popitem(last=False)
            return None
        self._uses.move_to_end(key)
        if use.place == place:
            use.seen = now
            return None
        returned = use.other == place and now - use.other_seen <= self._within
        use.place, use.seen, use.other, use.other_seen = place, now, use.place, use.seen
        return use.other if returned else None

    def forget(self, key: K) -> None:
        """Drop a key if it is there."""
        self._uses.pop(key, None)
