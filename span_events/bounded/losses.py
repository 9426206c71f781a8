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
        self._born: dict[int | None, int] = {}
        """Owners whose memory reaches back to another moment than that of the others."""

    def begin(self, identifier: int) -> None:
        """Note that the memory of every owner is complete from a moment on."""
        self._of_everyone = identifier
        self._born.clear()
        self._by_owner.clear()

    def begin_of(self, owner: int | None, identifier: int) -> None:
        """Note that the memory of one owner is complete from a moment on."""
        self._by_owner.pop(owner, None)
        self._born[owner] = identifier
        if len(self._born) > _MAX_OWNERS:
            self._of_everyone = max(self._of_everyone, *self._born.values())
            self._born.clear()

    def note(self, owner: int | None, identifier: int) -> None:
        """Note that an item was evicted."""
        if identifier > self._by_owner.get(owner, 0):
            self._by_owner[owner] = identifier
        if len(self._by_owner) > _MAX_OWNERS:  # collections come and go; one number covers the old ones
            self._of_everyone = max(self._by_owner.values())
            self._by_owner.clear()
            self._born.clear()

    def of(self, owner: int | None) -> int:
        """Return the identifier for one owner (a collection, or None)."""
        return max(self._born.get(owner, self._of_everyone), self._by_owner.get(owner, 0))

    def of_all(self) -> int:
        """Return the identifier for all owners together."""
        return max([self._of_everyone, *self._born.values(), *self._by_owner.values()])
