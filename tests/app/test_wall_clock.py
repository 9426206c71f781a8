"""Steps of the wall clock, against monotonic time."""

from __future__ import annotations

import pytest

from span_events.app.wall_clock import ClocksDiffer, WallClockWatch, compare
from tests.bench.clock import ManualClock


def test_a_step_is_seen_once_and_counted() -> None:
    """In both directions; time that passes, and what NTP slews, is none."""
    clock = ManualClock()
    watch = WallClockWatch(clock)
    clock.shift(86_400)
    clock.step(0.5)
    seen = [watch.stepped()]
    for seconds in (3600, -86_400):
        clock.step(seconds)
        seen += [watch.stepped(), watch.stepped()]

    assert seen == [False, True, False, True, False]
    assert watch.steps == 2


@pytest.mark.parametrize(
    ("theirs", "fault"),
    [(94.0, "6 s ahead"), (95.0, "5 s ahead"), (95.5, ""), (134.5, ""), (135.0, "5 s behind"), (190.0, "60 s behind")],
)
def test_a_clock_that_differs_from_that_of_postgresql_is_told(theirs: float, fault: str) -> None:
    """Asked at 100, answered at 130: a slow answer is no difference."""
    if not fault:
        compare(100.0, theirs, 130.0)
        return
    with pytest.raises(ClocksDiffer, match=f"This node's clock is {fault} "):
        compare(100.0, theirs, 130.0)
