"""The clock: wall time for what people read, monotonic time for what is measured."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Final, Protocol

from span_events import __released__

_RELEASED_NS: Final = int(datetime.fromisoformat(__released__).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


class Clock(Protocol):
    """The interface to time; tests pass a clock that they move by hand."""

    @property
    def earliest_ns(self) -> int:
        """Unix time in nanoseconds before which this clock is obviously wrong."""

    def time_ns(self) -> int:
        """Return Unix time in nanoseconds."""

    def monotonic(self) -> float:
        """Return seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""


class SystemClock:
    """The machine's own clock."""

    earliest_ns: int = _RELEASED_NS

    time_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds``."""
        await asyncio.sleep(seconds)
