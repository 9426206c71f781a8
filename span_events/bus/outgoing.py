"""Outgoing: the lines that wait for the next flush to NATS, joined per subject, within a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

LONGEST: Final = 65_536
"""Octets of a NATS message as a rule; NATS allows 1 MiB unless its operator changed that."""


@dataclass(slots=True)
class Batch:
    """Consecutive lines of one subject."""

    subject: str
    lines: list[bytes] = field(default_factory=list)
    octets: int = 0


class Outgoing:
    """
    Lines that wait for the next flush.

    Lines of one owner leave in their order, whatever their subjects. Beyond the bound, new lines are discarded: those
    that wait are needed first, as they tell how a fault began.

    Args:
        most: Upper bound of octets that wait.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._batches: deque[Batch] = deque()
        self._open: dict[Hashable, Batch] = {}
        """The last batch of each owner."""
        self.longest = LONGEST
        """Octets of a NATS message, unless one line alone is longer."""
        self.octets = 0
        """Octets that wait."""
        self.discarded = 0
        """Lines that found no room."""

    def append(self, owner: Hashable, subject: str, line: bytes) -> None:
        """Append a line to the last batch of its owner or to a new one; discard and count it if there is no room."""
        size = len(line) + 1  # the newline
        if self.octets + size > self._most:
            self.discarded += 1
            return
        batch = self._open.get(owner)
        if batch is None or batch.subject != subject or batch.octets + size > self.longest:
            batch = self._open[owner] = Batch(subject)
            self._batches.append(batch)
        batch.lines.append(line)
        batch.octets += size
        self.octets += size

    def pop(self) -> Batch | None:
        """Take the oldest batch; None if nothing waits."""
        if not self._batches:
            self._open.clear()
            return None
        batch = self._batches.popleft()
        self.octets -= batch.octets
        batch.octets = self.longest  # nothing can be appended to it
        return batch
