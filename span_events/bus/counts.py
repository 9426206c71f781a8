"""Counts of published events, by name and reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from span_events.events.activity import Event, Reason, keys_of
from span_events.events.catalogue import CATALOGUE, KEYS


class EventCounts:
    """
    Counts events; the labels of each class are resolved once.

    Every event of the catalogue, with each of its reasons, begins at zero, so that a rate sees the first one.
    """

    def __init__(self) -> None:
        self.plain: dict[type[Event], int] = {}
        """Counts of the events without a reason; the bus increments an entry that is here without calling `add`."""
        self._by_reason: dict[type[Event], tuple[str, defaultdict[Reason | None, int]]] = {}
        for kind in CATALOGUE.values():
            self._resolve(kind)

    def add(self, event: Event) -> None:
        """Count an event."""
        kind = type(event)
        attribute, counts = self._by_reason.get(kind) or self._resolve(kind)
        if attribute:
            counts[getattr(event, attribute)] += 1
        else:
            self.plain[kind] += 1

    @property
    def total(self) -> int:
        """Number of all events."""
        return sum(self.plain.values()) + sum(sum(counts.values()) for _, counts in self._by_reason.values())

    def by_labels(self) -> Mapping[tuple[str, ...], float]:
        """Return the counts by name and reason; the reason, or state of firmware, is empty where there is none."""
        found: dict[tuple[str, ...], float] = {(kind.name, ""): count for kind, count in self.plain.items()}
        for kind, (_, counts) in self._by_reason.items():
            for reason, count in counts.items():
                found[kind.name, "" if reason is None else reason.value] = count
        return found

    def _resolve(self, kind: type[Event]) -> tuple[str, defaultdict[Reason | None, int]]:
        """Find the attribute of a class that holds the reason or state; empty for none."""
        for key in KEYS.get(kind) or keys_of(kind):
            if key.reasons is not None and key.attribute in ("reason", "state"):
                counts = defaultdict[Reason | None, int](int, dict.fromkeys(key.reasons, 0))
                if key.optional or key.extension:
                    counts[None] = 0
                found = self._by_reason[kind] = (key.attribute, counts)
                return found
        self.plain.setdefault(kind, 0)
        return "", defaultdict(int)
