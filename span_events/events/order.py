"""
The order in which activities arrived at a node.

An activity of one node may arrive after younger ones of other nodes. A subscriber that resumes after an activity needs
those that arrived after it: to go by identifiers would double some and skip others. All nodes read the activities of
other nodes in one order, so that this holds for a subscriber that resumes at another node, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter

Place = tuple[int, int]
"""The youngest identifier that had arrived by then, and a number that rises among those that came after it."""


class ArrivalOrder:
    """Remembers the places of late activities; the place of every other follows from its identifier."""

    def __init__(self) -> None:
        self._youngest = 0
        self._late: dict[int, Place] = {}  # in the order of the places
        self._count = 0

    def note(self, identifier: int) -> None:
        """Note the arrival of an activity."""
        if identifier > self._youngest:
            self._youngest = identifier
        elif identifier not in self._late:
            self._count += 1
            self._late[identifier] = (self._youngest, self._count)

    def note_past(self, identifiers: Iterable[int]) -> None:
        """Note activities that arrived elsewhere, in the order in which they did."""
        youngest = 0
        for identifier in identifiers:
            self._late.pop(identifier, None)
            if identifier > youngest:
                youngest = identifier
            else:
                self._count += 1
                self._late[identifier] = (youngest, self._count)
        self._youngest = max(self._youngest, youngest)
        self._late = dict(sorted(self._late.items(), key=itemgetter(1)))

    def forget(self, identifier: int) -> None:
        """Forget the place of an activity that left the history."""
        self._late.pop(identifier, None)

    def place_of(self, identifier: int) -> Place:
        """Return the place of an activity, which sorts after the places of those that arrived before it."""
        return self._late.get(identifier, (identifier, 0))

    def oldest_since(self, identifier: int) -> int:
        """Return the lowest identifier of an activity and those that arrived after it."""
        place, lowest = self.place_of(identifier), identifier
        for each, its_place in reversed(self._late.items()):
            if its_place < place:
                break
            lowest = min(lowest, each)
        return lowest
