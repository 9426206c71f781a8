"""Steps of the wall clock, against monotonic time."""

from __future__ import annotations

from span_events.app.wall_clock import WallClockWatch
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
