"""The clock: wall time for what people read, monotonic time for what is measured."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """The interface to time; tests pass a clock that they move by hand."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancelling loses nothing."""


class SystemClock:
    """The machine's own clock."""

    time_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancelling loses nothing."""
        await asyncio.sleep(seconds)
