"""The supervisor: runs tasks that must not end, and knows which repeated actions fail at the moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from span_events.clock import Clock
from span_events.errors import SpanEventsError
from span_events.log import get_logger

log = get_logger("app")


class Supervisor:
    """
    The tasks of a process.

    Args:
        common: Failures that each node of the server has at the same time. They degrade this one, but clients would
            gain nothing by another node.
    """

    def __init__(self, clock: Clock, *, common: tuple[type[Exception], ...] = ()) -> None:
        self._clock = clock
        self._common = common
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: dict[str, str] = {}
        self._failures = Counter[str]()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Future that fails when a task ends that should run on."""

    @property
    def failing(self) -> Mapping[str, str]:
        """Repeated actions whose last run failed: name to a sentence with the cause."""
        return self._failing

    def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Run a task that must not end, until `close`."""

        async def watched() -> None:
            try:
                await work()
                raise RuntimeError(f"{name} ended by itself")
            except Exception as exc:
                log.exception("part_failed", part_failed=name)
                if not self.failed.done():
                    self.failed.set_exception(exc)

        self._tasks.append(asyncio.get_running_loop().create_task(watched(), name=name))

    def every(self, seconds: float, name: str, action: Callable[[], Awaitable[object] | None]) -> None:
        """Repeat an action; a failure does not end the repetition, and consecutive failures are one line in the log."""

        async def repeat() -> None:
            while True:
                await self._clock.sleep(seconds)
                try:
                    awaitable = action()
                    if awaitable is not None:
                        await awaitable
                except Exception as exc:
                    self._note_failure(name, exc)
                else:
                    self._note_success(name)

        self.run(name, repeat)

    def keep(self, seconds: float, name: str, work: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """
        Do some work that ends by a failure only, and begin it anew; failures are logged as those of `every`.

        Args:
            seconds: Pause after a failure.
            work: Gets a function that it calls as soon as it works.
        """

        async def repeat() -> None:
            while True:
                try:
                    await work(lambda: self._note_success(name))
                except Exception as exc:
                    self._note_failure(name, exc)
                await self._clock.sleep(seconds)

        self.run(name, repeat)

    def _note_failure(self, name: str, exc: Exception) -> None:
        if name not in self._failing:
            if isinstance(exc, SpanEventsError):  # expected: it says what to do
                log.error("repeated_action_failed", action=name, detail=str(exc), hint=exc.hint)
            else:
                log.exception("repeated_action_failed", action=name)
        self._failures[name] += 1
        self._failing[name] = f"{'degraded' if isinstance(exc, self._common) else 'failed'}: {exc}"

    def _note_success(self, name: str) -> None:
        if name in self._failing:
            log.info("repeated_action_works_again", action=name, failed=self._failures.pop(name))
            del self._failing[name]

    async def close(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
