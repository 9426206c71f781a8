"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
from itertools import count

START_NS = 1_714_076_616_000_000_000
"""2024-04-25 20:23:36 UTC, the moment of Span's published sample."""


class ManualClock:
    """Wall and monotonic time that move together, by hand."""

    def __init__(self, start_ns: int = START_NS) -> None:
        self.earliest_ns = 0
        """Moment before which this clock is obviously wrong, Unix nanoseconds."""
        self._start_ns = start_ns
        self._now = 0.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds."""
        return self._start_ns + round(self._now * 1e9)

    def monotonic(self) -> float:
        """Return seconds since the test began."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved time far enough."""
        waiter = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), waiter))
        await waiter

    def shift(self, seconds: float) -> None:
        """Move time without waking anybody."""
        self._now += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock, as NTP does; monotonic time goes on."""
        self._start_ns += round(seconds * 1e9)

    async def advance(self, seconds: float) -> None:
        """Move time, waking each sleeper at its moment and letting it run."""
        target = self._now + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            self._now, _, waiter = heapq.heappop(self._sleepers)
            if not waiter.done():
                waiter.set_result(None)
            await settle()
        self._now = target


async def settle() -> None:
    """Let everything run that can run without time or input."""
    for _ in range(10):
        await asyncio.sleep(0)
