"""
History: the recent activities in memory, which ``tail=`` and ``after=`` replay.

A request that reaches further back than memory gets the activities that remain, and the reply
reports the gap.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import Final

from span_events.bounded.rings import Rings
from span_events.events.activity import Activity
from span_events.events.filters import Scope, Wish
from span_events.metrics import Metric

_MAX_OWNERS: Final = 10_000
"""Upper bound of collections whose newest lost activity is remembered separately."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Past activities in the order of their identifiers."""

    activities: tuple[Activity, ...]
    lost_through: int | None = None
    """The last activity that is missing between the point that was asked for and these; None if none is."""


class History:
    """
    Recent activities per collection.

    Args:
        per_collection: How many activities a collection keeps.
        total: How many are kept in all.
        born: Identifier of the moment when this memory began (nothing older can be known).
    """

    def __init__(self, *, per_collection: int, total: int, born: int) -> None:
        self._rings: Rings[Activity] = Rings(per_owner=per_collection, total=total, lost=self._note_loss)
        self._forgotten: dict[int | None, int] = {}
        self._forgotten_by_all = born

    @property
    def size(self) -> int:
        """Number of activities in memory."""
        return self._rings.cost

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [Metric("history_events", "Events in memory; at most events.history_total.", "gauge", lambda: self.size)]

    def append(self, activity: Activity) -> None:
        """Remember an activity."""
        self._rings.append(activity.event.origin.collection_id, activity)

    def tail(self, scope: Scope, wish: Wish, count: int) -> Replay:
        """Return the last ``count`` activities that are in scope and pass the filter."""
        newest_first = heapq.merge(*map(reversed, self._in(scope)), key=attrgetter("id"), reverse=True)
        matching = (each for each in newest_first if scope.covers(each.event.origin) and wish.matches(each.event))
        return Replay(tuple(islice(matching, count))[::-1])

    def after(self, scope: Scope, wish: Wish, identifier: int) -> Replay:
        """Return the activities in scope that pass the filter and are younger than an identifier."""
        oldest_first = heapq.merge(*self._in(scope), key=attrgetter("id"))
        matching = tuple(
            each
            for each in oldest_first
            if each.id > identifier and scope.covers(each.event.origin) and wish.matches(each.event)
        )
        forgotten = self._forgotten_through(scope)
        return Replay(matching, lost_through=forgotten if identifier < forgotten else None)

    def _in(self, scope: Scope) -> Iterable[deque[Activity]]:
        if scope.collection_id is None:
            return self._rings.all()
        own = self._rings.of(scope.collection_id)
        return chain(own, self._rings.of(None)) if scope.unattributed else own

    def _forgotten_through(self, scope: Scope) -> int:
        """Return the identifier up to which the memory of a scope may have holes."""
        if scope.collection_id is None:
            return max([self._forgotten_by_all, *self._forgotten.values()])
        unattributed = self._forgotten.get(None, 0) if scope.unattributed else 0
        return max(self._forgotten_by_all, self._forgotten.get(scope.collection_id, 0), unattributed)

    def _note_loss(self, owner: int | None, activity: Activity) -> None:
        self._forgotten[owner] = activity.id
        if len(self._forgotten) > _MAX_OWNERS:  # collections come and go; one number covers the old ones
            self._forgotten_by_all = max(self._forgotten.values())
            self._forgotten.clear()
