"""Simulations that end once the thing happened that a test waits for, however long that takes on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import pytest

from span_events.cli.simulate import chirpstack, devices, gateway
from span_events.cli.simulate.progress import AnyStatistics
from span_events.cli.simulate.running import play
from tests.bench.waiting import until

BRIEF: Final = ("--duration", "0.01")
"""For a run of which only the beginning and the end matter: devices may or may not send."""


@contextmanager
def ended_when(enough: Callable[[Any], Any]) -> Iterator[None]:
    """Let the simulation of a command within this context end once its statistics are as wanted, without --duration."""

    async def play_until(work: Awaitable[None], statistics: AnyStatistics, duration: float | None) -> None:
        assert duration is None, "the condition ends the run"
        playing = asyncio.ensure_future(play(work, statistics, None))
        try:
            await until(lambda: playing.done() or enough(statistics))
        finally:
            playing.cancel()
        with suppress(asyncio.CancelledError):
            await playing

    with pytest.MonkeyPatch.context() as patch:
        for each in (chirpstack, devices, gateway):
            patch.setattr(each, "play", play_until)
        yield
