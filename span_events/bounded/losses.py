"""Losses: the newest item that a bounded memory has evicted, for each owner."""

from __future__ import annotations

from typing import Final

_MAX_OWNERS: Final = 10_000
"""Upper bound of owners that are remembered separately."""


class Losses:
    """
    Remembers up to which identifier the memory of an owner may have holes.

    Args:
        born: Identifier of the moment when the memory began: nothing older can be known.
    """

    def __init__(self, born: int) -> None:
        self._by_owner: dict[int | None, int] = {}
        self._of_everyone = born

    def note(self, owner: int | None, identifier: int) -> None:
        """Note that an item was evicted."""
        if identifier > self._by_owner.get(owner, 0):
            self._by_owner[owner] = identifier
        if len(self._by_owner) > _MAX_OWNERS:  # collections come and go; one number covers the old ones
            self._of_everyone = max(self._by_owner.values())
            self._by_owner.clear()

    def of(self, owner: int | None) -> int:
        """Return the identifier for one owner (a collection, or None)."""
        return max(self._of_everyone, self._by_owner.get(owner, 0))

    def of_all(self) -> int:
        """Return the identifier for all owners together."""
        return max([self._of_everyone, *self._by_owner.values()])
