"""A table that forgets: by age, and the oldest first when it is full."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ExpiringMap(Generic[K, V]):
    """
    Values by key, in order of insertion.

    Time is a parameter, in monotonic seconds; an insertion removes expired values, so
    no timer is needed, and the cost of a call does not depend on the size.

    Args:
        limit: Upper bound of values; beyond it, the oldest is evicted.
        lifetime: Lifetime of a value in seconds.
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
        """Insert or replace a value, and remove expired ones."""
        entries = self._entries
        entries[key] = (now, value)
        entries.move_to_end(key)
        horizon = now - self._lifetime
        while len(entries) > self._limit or next(iter(entries.values()))[0] <= horizon:
            self._dropped(entries.popitem(last=False)[0])

    def forget(self, key: K) -> None:
        """Drop a value if it is there."""
        if self._entries.pop(key, None) is not None:
            self._dropped(key)

    def _dropped(self, key: K) -> None:
        """Called for each removed key; subclasses maintain an index."""


P = TypeVar("P", bound=Hashable)
R = TypeVar("R", bound=Hashable)


class ExpiringMapOfPeers(ExpiringMap[tuple[P, R], V], Generic[P, R, V]):
    """An expiring map whose keys begin with a peer; `forget_peer` removes all values of a peer."""

    def __init__(self, *, limit: int, lifetime: float) -> None:
        super().__init__(limit=limit, lifetime=lifetime)
        self._of_peer: dict[P, set[R]] = {}

    def put(self, key: tuple[P, R], value: V, now: float) -> None:
        """Insert or replace a value, and remove expired ones."""
        super().put(key, value, now)
        self._of_peer.setdefault(key[0], set()).add(key[1])

    def forget_peer(self, peer: P) -> list[V]:
        """Drop every value of a peer, and return them."""
        keys = [(peer, rest) for rest in self._of_peer.get(peer, ())]
        values = [self._entries[key][1] for key in keys]
        for key in keys:
            self.forget(key)
        return values

    def _dropped(self, key: tuple[P, R]) -> None:
        peer, rest = key
        of_peer = self._of_peer[peer]
        of_peer.discard(rest)
        if not of_peer:
            del self._of_peer[peer]
