"""
Watch of the wall clock: notices its steps, such as the first correction by NTP on a board without a battery.

Nodes that share a registry compare their clocks with that of PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from span_events.clock import Clock
from span_events.errors import SpanEventsError
from span_events.log import get_logger
from span_events.metrics import Metric

log = get_logger("app")

LOOK: Final = 5.0
"""Seconds between looks."""
_STEP: Final = 2.0
"""Seconds between wall and monotonic time that are a step; NTP slews by 0.5 ms a second at most."""
_APART: Final = 5.0
"""Seconds between the clocks of nodes that users notice; NTP keeps them within milliseconds."""


class ClocksDiffer(SpanEventsError):
    """The clock of this node is not that of the others."""

    code = "clocks_differ"
    hint = (
        "Keep the clocks of all nodes and of PostgreSQL together (NTP): times, ids and the order of sessions need it."
    )


def compare(before: float, theirs: float, after: float) -> None:
    """
    Compare this node's clock with PostgreSQL's, which was read between two looks at ours; seconds since 1970.

    Raises:
        ClocksDiffer: They are five seconds or more apart, however long the answer took.
    """
    if theirs <= before - _APART:
        raise ClocksDiffer(f"This node's clock is {before - theirs:.0f} s ahead of PostgreSQL's")
    if theirs >= after + _APART:
        raise ClocksDiffer(f"This node's clock is {theirs - after:.0f} s behind PostgreSQL's")


class WallClockWatch:
    """Compares wall time with monotonic time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset = self._offset_now()
        self.steps = 0
        """Steps so far."""

    def stepped(self) -> bool:
        """Return whether the wall clock was set, or the machine slept, since the last look."""
        offset = self._offset_now()
        step, self._offset = offset - self._offset, offset
        if abs(step) < _STEP:
            return False
        self.steps += 1
        log.warning("clock_stepped", seconds=round(step, 1), hint="The clock was set: times of older events are off.")
        return True

    def metrics(self) -> Iterable[Metric]:
        """List the metrics."""
        yield Metric("clock_steps", "Steps of the wall clock.", "counter", lambda: self.steps)

    def _offset_now(self) -> float:
        return self._clock.time_ns() / 1e9 - self._clock.monotonic()
