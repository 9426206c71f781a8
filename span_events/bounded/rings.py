"""Bounded memory of recent things: a ring per owner, and a bound over all rings together."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Rings(Generic[T]):
    """
    Recent items per owner (a collection, or None for nobody).

    Args:
        per_owner: How many items an owner keeps.
        total: What all items may cost together; the owner that was quiet longest gives way.
        cost: What an item costs; None is 1 each.
        lost: Called with each item that is forgotten.
    """

    def __init__(
        self,
        *,
        per_owner: int,
        total: int,
        cost: Callable[[T], int] | None = None,
        lost: Callable[[int | None, T], None] | None = None,
    ) -> None:
        self._per_owner = per_owner
        self._total = total
        self._cost = cost
        self._lost = lost
        self._rings: OrderedDict[int | None, deque[T]] = OrderedDict()
        self.cost = 0
        """What is remembered costs this."""

    def append(self, owner: int | None, item: T) -> None:
        """Remember an item, and forget what no longer fits."""
        ring = self._rings.get(owner)
        if ring is None:
            ring = self._rings[owner] = deque()
        else:
            self._rings.move_to_end(owner)
        ring.append(item)
        self.cost += 1 if self._cost is None else self._cost(item)
        if len(ring) > self._per_owner:
            self._forget(owner, ring)
        while self.cost > self._total:
            self._forget(*next(iter(self._rings.items())))

    def of(self, owner: int | None) -> Iterable[deque[T]]:
        """Return the ring of an owner, if there is one."""
        ring = self._rings.get(owner)
        return () if ring is None else (ring,)

    def all(self) -> Iterable[deque[T]]:
        """Return every ring."""
        return self._rings.values()

    def _forget(self, owner: int | None, ring: deque[T]) -> None:
        item = ring.popleft()
        self.cost -= 1 if self._cost is None else self._cost(item)
        if not ring:
            del self._rings[owner]
        if self._lost is not None:
            self._lost(owner, item)
