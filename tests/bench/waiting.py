"""Wait for a thing, not for a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], *, within: float = 10.0) -> None:
    """
    Return as soon as a condition holds.

    Raises:
        TimeoutError: It did not hold within so many seconds.
    """
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # the one place where a test polls
            await asyncio.sleep(0.001)
