"""
Ordering: recognizes accounting records that a NAS sent before records that arrived earlier.

Lifetimes are measured by the server's clock. The clock of the NAS only decides which of two records of the
same node is older.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_LATE_MS: Final = 15 * 60_000
"""Upper bound of a record's delay; a larger difference means that the clock of the NAS was set back."""

SessionKey = tuple[str, str, str]
"""NAS, its node, and the session identifier that the node chose."""


def is_late(time_ms: int, known_ms: int) -> bool:
    """Return True if a record is older than a known one of the same node; a record without time is never late."""
    return 0 < time_ms < known_ms <= time_ms + _LATE_MS


class Stops:
    """
    The last Stops with their times, so that an older record does not start an ended session again.

    Args:
        limit: Upper bound of stored Stops; beyond it, the oldest is evicted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: OrderedDict[SessionKey, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._times)

    def add(self, session: SessionKey, time_ms: int) -> None:
        """Store a Stop with its time (Unix milliseconds by the clock of the NAS)."""
        self._times[session] = time_ms
        self._times.move_to_end(session)
        if len(self._times) > self._limit:
            self._times.popitem(last=False)

    def overtook(self, session: SessionKey, time_ms: int) -> bool:
        """Return True if the session's Stop is younger than a record that arrives now."""
        return is_late(time_ms, self._times.get(session, 0))
