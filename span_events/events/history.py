"""
History: the recent activities in memory, which ``tail=`` and ``after=`` replay.

Warnings and errors have rings of their own, so that routine cannot push them out. A request that reaches further back
than memory gets the activities that remain, and the reply reports the gap.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile
from operator import attrgetter
from typing import Final

from span_events.bounded.losses import Losses
from span_events.bounded.rings import Rings
from span_events.events.activity import Activity, Key
from span_events.events.catalogue import KEYS, is_alarm
from span_events.events.filters import Scope, Wish
from span_events.events.order import ArrivalOrder, Place
from span_events.metrics import Metric

_NEWEST: Final = 1 << 63
_ID: Final = attrgetter("id")
_FAULTS: Final = 4
"""Warnings and errors may take a quarter of the bounds, beside the routine."""
_BASE: Final = 400
"""Octets of an activity in memory without its texts, roughly: the objects, their ids and the place in a ring."""
_TEXT: Final = 49
"""Octets of a text in memory besides its characters."""
_NUMBER: Final = 32
"""Octets of a number in memory."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Past activities in the order in which they arrived: that of their identifiers, unless some came late."""

    activities: tuple[Activity, ...]
    lost_through: int | None = None
    """The last activity that is missing between the point that was asked for and these; None if none is."""


@dataclass(frozen=True, slots=True)
class Past:
    """The past of one owner, or of all, from elsewhere."""

    activities: Sequence[Activity]
    """In the order in which they arrived there."""
    owner: int | None
    of_everyone: bool = False
    """True if these are the activities of all owners."""
    since: int = 0
    """Identifier of the moment from which on they are complete …"""
    cut: Mapping[int | None, int] = field(default_factory=dict)
    """… but for these owners, of whom activities up to an identifier may be missing."""


class History:
    """
    Recent activities per collection.

    Args:
        per_collection: Activities that a collection keeps; and a quarter as many warnings and errors.
        total: Activities that are kept in all; and a quarter as many warnings and errors.
        octets: Memory of all of them, roughly; and a quarter as much for warnings and errors.
        age: Seconds after which an activity is forgotten.
        born: Identifier of the moment when this memory began: nothing older can be known.
    """

    def __init__(
        self, *, per_collection: int, total: int, born: int, octets: int = 1 << 62, age: float = float("inf")
    ) -> None:
        self._routine: Rings[Activity] = Rings(
            per_owner=per_collection, total=octets, cost=_octets_of, most=total, lost=self._note_loss
        )
        self._faults: Rings[Activity] = Rings(
            per_owner=max(1, per_collection // _FAULTS),
            total=max(1, octets // _FAULTS),
            cost=_octets_of,
            most=max(1, total // _FAULTS),
            lost=self._note_loss,
        )
        self._age = age
        self._losses = Losses(born)
        self._order = ArrivalOrder()

    @property
    def size(self) -> int:
        """Number of activities in memory."""
        return self._routine.items + self._faults.items

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric(
                "history_events",
                "Events in memory; at most events.history_total, and a quarter of that for warnings and errors.",
                "gauge",
                lambda: {"routine": self._routine.items, "faults": self._faults.items},
                label="kind",
            ),
            Metric(
                "history_bytes",
                "Bytes of the events in memory, roughly; at most 1.25 times events.history_octets.",
                "gauge",
                lambda: self._routine.cost + self._faults.cost,
            ),
        ]

    def append(self, activity: Activity) -> None:
        """Remember an activity."""
        self._rings_for(activity).append(activity.event.origin.collection_id, activity)

    def insert(self, activity: Activity) -> None:
        """Remember an activity that may come after younger ones, as those of several nodes do."""
        rings = self._rings_for(activity)
        owner = activity.event.origin.collection_id
        rings.append(owner, activity)
        rings.settle(owner, _ID)
        self._order.note(activity.id)

    def fill(self, past: Past) -> None:
        """Add the past of owners to their known activities; an activity is remembered once."""
        if past.of_everyone:
            self._losses.begin(past.since)
        else:
            self._losses.begin_of(past.owner, past.since)
        for owner, identifier in past.cut.items():
            self._losses.note(owner, identifier)
        for rings in (self._routine, self._faults):
            by_owner: dict[int | None, list[Activity]] = {}
            for each in past.activities:
                if self._rings_for(each) is rings:
                    by_owner.setdefault(each.event.origin.collection_id, []).append(each)
            for owner, found in by_owner.items():
                known = chain.from_iterable(rings.of(owner))
                unique = {each.id: each for each in chain(known, found)}
                rings.replace(owner, [unique[identifier] for identifier in sorted(unique)])
        self._order.note_past(each.id for each in past.activities)

    def sweep(self, time_ns: int) -> None:
        """Forget activities that are too old; called now and then with the time, nanoseconds since 1970."""
        if self._age == float("inf"):
            return
        horizon = time_ns - int(self._age * 1e9)
        for rings in (self._routine, self._faults):
            rings.forget_while(lambda each: each.time_ns < horizon)

    def tail(self, scope: Scope, wish: Wish, count: int, *, until: int | None = None) -> Replay:
        """Return the last ``count`` activities, up to ``until``, that are in scope and pass the filter."""
        last = _NEWEST if until is None else until
        newest_first = heapq.merge(*map(reversed, self._in(scope)), key=_ID, reverse=True)
        matching = (
            each
            for each in newest_first
            if each.id <= last and scope.covers(each.event.origin) and wish.matches(each.event)
        )
        return Replay(tuple(sorted(islice(matching, count), key=self._place_of)))

    def after(self, scope: Scope, wish: Wish, identifier: int, *, until: int | None = None) -> Replay:
        """
        Return the activities in scope that pass the filter and arrived after another.

        Args:
            identifier: Of the other one; of one that is not known here, or a moment: those that are younger.
            until: Identifier of the last one that may be among them.
        """
        last = _NEWEST if until is None else until
        begin = self._order.oldest_since(identifier)
        newest_first = (takewhile(lambda each: each.id >= begin, reversed(ring)) for ring in self._in(scope))
        since = list(chain.from_iterable(newest_first))
        place = self._order.place_of(identifier) if any(each.id == identifier for each in since) else None
        found = [
            each
            for each in since
            if (each.id > identifier if place is None else self._place_of(each) > place)
            and each.id <= last
            and scope.covers(each.event.origin)
            and wish.matches(each.event)
        ]
        found.sort(key=self._place_of)
        forgotten = self._forgotten_through(scope)
        return Replay(tuple(found), lost_through=forgotten if identifier < forgotten else None)

    def related(self, identifier: int) -> list[Activity]:
        """Return the activities of all collections that name an identifier as their cause, session or message."""
        found = []
        for ring in chain(self._routine.all(), self._faults.all()):
            for each in reversed(ring):
                if each.id < identifier:  # a cause precedes its events
                    break
                event = each.event
                if identifier in (event.correlation_id, event.session_id, getattr(event, "message_id", None)):
                    found.append(each)
        return sorted(found, key=_ID)

    def _rings_for(self, activity: Activity) -> Rings[Activity]:
        return self._faults if is_alarm(activity.event) else self._routine

    def _in(self, scope: Scope) -> Iterator[deque[Activity]]:
        for rings in (self._routine, self._faults):
            yield from _rings_in(rings, scope)

    def _forgotten_through(self, scope: Scope) -> int:
        """Return the identifier up to which the memory of a scope may have holes."""
        if scope.collection_id is None:
            return self._losses.of_all()
        own = self._losses.of(scope.collection_id)
        return max(own, self._losses.of(None)) if scope.unattributed else own

    def _place_of(self, activity: Activity) -> Place:
        return self._order.place_of(activity.id)

    def _note_loss(self, owner: int | None, activity: Activity) -> None:
        self._losses.note(owner, activity.id)
        self._order.forget(activity.id)


def _rings_in(rings: Rings[Activity], scope: Scope) -> Iterable[deque[Activity]]:
    if scope.collection_id is None:
        return rings.all()
    own = rings.of(scope.collection_id)
    return chain(own, rings.of(None)) if scope.unattributed else own


def _octets_of(activity: Activity) -> int:
    """Return the octets of an activity in memory, roughly."""
    event = activity.event
    octets, texts = _SIZES[event.__class__]
    for attribute in texts:
        text = getattr(event, attribute)
        if text:
            octets += len(text)
    return octets


def _size_of(keys: tuple[Key, ...]) -> tuple[int, tuple[str, ...]]:
    """Return the octets of an activity with empty texts, and the attributes that are texts."""
    texts = tuple(each.attribute for each in keys if each.kind is str)
    return _BASE + _TEXT * len(texts) + _NUMBER * (len(keys) - len(texts)), texts


_SIZES: Final = {event: _size_of(keys) for event, keys in KEYS.items()}
