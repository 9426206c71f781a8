"""Rings: bounded memory of recent items, a ring per owner and a bound over all rings."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Rings(Generic[T]):
    """
    Recent items per owner (a collection, or None).

    Args:
        per_owner: Upper bound of items per owner.
        total: Upper bound of the cost of all items; beyond it, the owner quiet for longest loses its oldest.
        cost: Returns the cost of an item.
        most: Upper bound of items of all owners together.
        lost: Called with each evicted item.
    """

    def __init__(
        self,
        *,
        per_owner: int,
        total: int,
        cost: Callable[[T], int],
        most: float = float("inf"),
        lost: Callable[[int | None, T], None] | None = None,
    ) -> None:
        self._per_owner = per_owner
        self._total = total
        self._cost = cost
        self._most = most
        self._lost = lost
        self._rings: OrderedDict[int | None, deque[T]] = OrderedDict()
        self.cost = 0
        """Cost of all items."""
        self.items = 0
        """Number of all items."""

    def append(self, owner: int | None, item: T) -> None:
        """Append an item, and evict those over the bounds."""
        ring = self._rings.get(owner)
        if ring is None:
            ring = self._rings[owner] = deque()
        else:
            self._rings.move_to_end(owner)
        ring.append(item)
        self.items += 1
        self.cost += self._cost(item)
        if len(ring) > self._per_owner:
            self._forget(owner, ring)
        while self.cost > self._total or self.items > self._most:
            self._forget(*next(iter(self._rings.items())))

    def settle(self, owner: int | None, order: Callable[[T], int]) -> None:
        """Move the newest item of an owner before those that follow it in an order."""
        ring = self._rings.get(owner)
        if ring is None:
            return
        item = ring.pop()
        later = []
        while ring and order(ring[-1]) > order(item):
            later.append(ring.pop())
        ring.append(item)
        ring.extend(reversed(later))

    def replace(self, owner: int | None, items: Iterable[T]) -> None:
        """Give an owner other items."""
        for item in self._rings.pop(owner, ()):
            self.items -= 1
            self.cost -= self._cost(item)
        for item in items:
            self.append(owner, item)

    def forget_while(self, condition: Callable[[T], bool]) -> None:
        """Evict the oldest items of each owner as long as they fulfil a condition, such as their age."""
        for owner, ring in list(self._rings.items()):
            while ring and condition(ring[0]):
                self._forget(owner, ring)

    def of(self, owner: int | None) -> Iterable[deque[T]]:
        """Return the ring of an owner; None if it has no items."""
        ring = self._rings.get(owner)
        return () if ring is None else (ring,)

    def all(self) -> Iterable[deque[T]]:
        """Return every ring."""
        return self._rings.values()

    def _forget(self, owner: int | None, ring: deque[T]) -> None:
        item = ring.popleft()
        self.items -= 1
        self.cost -= self._cost(item)
        if not ring:
            del self._rings[owner]
        if self._lost is not None:
            self._lost(owner, item)
