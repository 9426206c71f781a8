"""The supervisor: runs tasks that must not end, and knows which repeated actions fail at the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from span_events.clock import Clock
from span_events.log import get_logger

log = get_logger("app")


class Supervisor:
    """The tasks of a process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tasks: list[asyncio.Task[None]] = []
        self._failing: dict[str, str] = {}
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

    def every(self, seconds: float, name: str, action: Callable[[], Awaitable[None] | None]) -> None:
        """Repeat an action; a failure does not end the repetition, and consecutive failures are one line in the log."""

        async def repeat() -> None:
            failures = 0
            while True:
                await self._clock.sleep(seconds)
                try:
                    awaitable = action()
                    if awaitable is not None:
                        await awaitable
                except Exception as exc:
                    if not failures:
                        log.exception("repeated_action_failed", action=name)
                    failures += 1
                    self._failing[name] = f"failed: {exc}"
                else:
                    if failures:
                        log.info("repeated_action_works_again", action=name, failed=failures)
                        del self._failing[name]
                    failures = 0

        self.run(name, repeat)

    async def close(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
