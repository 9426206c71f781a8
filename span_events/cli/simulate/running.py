"""Shared parts of the `simulate` commands: options, and running until a signal."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Awaitable, Coroutine
from typing import Any, Final

import click

from span_events.cli.options import Reference
from span_events.cli.simulate import progress

_TERMINATED: Final = 143
"""Exit status after SIGTERM: 128 + SIGTERM."""

collection_option: Final = click.option(
    "-c",
    "--collection",
    type=Reference("collection"),
    envvar="SPAN_COLLECTION_ID",
    help="Where the devices are; without it one tagged simulated=true, made if need be. [env: SPAN_COLLECTION_ID]",
)
rate_option: Final = click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Messages a second, of all devices together.",
)
fault_pause_option: Final = click.option(
    "--fault-pause",
    type=click.FloatRange(0, min_open=True),
    default=5.0,
    show_default=True,
    metavar="SECONDS",
    help="Mean pause between two faults.",
)
duration_option: Final = click.option(
    "--duration", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="Stop then; else at Ctrl-C."
)
cleanup_option: Final = click.option(
    "--cleanup", is_flag=True, help="Delete what it made at the end, and the collection if it made it."
)


def run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; SIGTERM cancels as Ctrl-C does, so that both clean up."""
    terminated = False

    async def within() -> None:
        task = asyncio.current_task()
        assert task is not None

        def terminate() -> None:
            nonlocal terminated
            terminated = True
            task.cancel()

        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        await work

    try:
        asyncio.run(within())
    except asyncio.CancelledError:
        if not terminated:
            raise
        raise click.exceptions.Exit(_TERMINATED) from None


async def play(work: Awaitable[None], statistics: progress.AnyStatistics, duration: float | None) -> None:
    """Run for a number of seconds, or until cancelled, and update a line with the statistics."""
    reporter = asyncio.create_task(progress.report(statistics))
    try:
        async with asyncio.timeout(duration):
            await work
    except TimeoutError:
        pass
    finally:
        reporter.cancel()
        await asyncio.gather(reporter, return_exceptions=True)
