"""The parent of several processes: starts them, passes signals on, and stops them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from span_events.app.workers.child import Child
from span_events.log import get_logger

log = get_logger("workers")

_STOP: Final = 45.0
"""Seconds for a process to stop, before it is killed; the unit of systemd gives 100 to all."""


class Parent:
    """
    Children that run together.

    Args:
        children: In the order of the start: the first one alone, since it may have to make tables and keys that the
            others use, then the others together. They stop in the same order: a device node ends its sessions while the
            streams still show it.
    """

    def __init__(self, children: Sequence[Child]) -> None:
        self.children = tuple(children)
        self._tasks: dict[Child, asyncio.Task[None]] = {}

    @property
    def is_well(self) -> bool:
        """
        Whether a process serves, or did a minute ago.

        One that does not start again must not end the others: they serve on while the database is away.
        """
        return any(each.is_well for each in self.children)

    @property
    def status(self) -> str:
        """The state of the processes, for people."""
        ready = sum(each.ready.is_set() for each in self.children)
        again = sum(max(0, each.starts - 1) for each in self.children)
        return f"{ready} of {len(self.children)} processes are ready, {again} restarts"

    async def start(self) -> None:
        """
        Start all children, and return when they are ready.

        Raises:
            ChildFailed: One ended before it was ready; the others are left to `stop`.
        """
        first, *others = self.children
        await self._start([first])
        if others:
            await self._start(others)

    async def _start(self, children: Sequence[Child]) -> None:
        for child in children:
            self._tasks[child] = asyncio.create_task(child.run(), name=child.name)
        waiting = asyncio.create_task(_all_ready(children))
        try:
            await asyncio.wait({waiting, *self._tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks.values():
                if task.done():
                    task.result()
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def failed(self) -> None:
        """Wait until the supervision of a child fails, and raise its error."""
        done, _ = await asyncio.wait(self._tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def reload(self) -> bool:
        """
        Send SIGHUP to the processes that are ready, and wait until each has read its settings again, or has ended.

        Returns:
            False if none was ready.
        """
        asked = {each: each.reloads for each in self.children if each.ready.is_set()}
        for child in asked:
            child.hang_up()
        for child, before in asked.items():
            await child.reloaded(before)
        return bool(asked)

    async def stop(self) -> None:
        """Stop the first child, then the others; one that overruns its deadline is killed."""
        first, *others = self.children
        await self._stop([first])
        await self._stop(others)

    async def _stop(self, children: Sequence[Child]) -> None:
        tasks = {self._tasks[each]: each for each in children if each in self._tasks}
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_STOP)
            for task in late:
                log.error("process_killed", process=tasks[task].name, seconds=_STOP)
                tasks[task].kill()
            await asyncio.gather(*tasks, return_exceptions=True)

    def kill(self) -> None:
        """Kill all processes (SIGKILL)."""
        for child in self.children:
            child.kill()


async def _all_ready(children: Sequence[Child]) -> None:
    for child in children:
        await child.ready.wait()
