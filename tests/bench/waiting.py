"""Waiting for a condition, never for a time: one generous limit for all tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 120.0
"""Seconds after which a missing event fails a test. A test that passes never waits that long, on no machine."""


async def until(condition: Callable[[], bool]) -> None:
    """
    Return as soon as a condition holds.

    Raises:
        TimeoutError: The condition did not hold within `PATIENCE`.
    """
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # a test polls here and in `answered` only
            await asyncio.sleep(0.001)


async def answered(ask: Callable[[], Awaitable[T]], wanted: Callable[[T], bool]) -> T:
    """
    Ask a program again and again, with pauses in which it works, until an answer is as wanted; return that answer.

    Raises:
        TimeoutError: No such answer came within `PATIENCE`.
    """
    async with asyncio.timeout(PATIENCE):
        while not wanted(answer := await ask()):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)
    return answer


def waited(condition: Callable[[], bool]) -> None:
    """Wait as `until` does, without an event loop."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)
