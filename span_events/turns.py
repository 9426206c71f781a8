"""
Turns: connections and requests with more work than one wake-up may do wait here, and each has its turn.

The event loop serves all other sockets between two turns, however many wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

_BUDGET: Final = 0.005
"""Seconds of a wake-up in which requests may begin."""


class Worker(Protocol):
    """A connection with input that waits."""

    def take_turn(self) -> bool:
        """Process a bounded part of the input; return True if more waits."""


class Turns:
    """The waiting connections, in the order of their turns."""

    def __init__(self) -> None:
        self._waiting: deque[Worker] = deque()

    def add(self, worker: Worker) -> None:
        """Give a connection turns until it has processed its input; it must not be waiting already."""
        self._waiting.append(worker)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        worker = self._waiting.popleft()
        try:
            if worker.take_turn():
                self._waiting.append(worker)
        finally:  # a worker that fails loses its own turns only
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)


class RequestTurns:
    """
    Turns of requests.

    Requests begin at once while a wake-up is young. Those that come later in it, of any connection, wait,
    and from then on one begins in each wake-up.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._began: float | None = None  # of the current wake-up; None until a request comes in it
        self._is_scheduled = False

    def are_waiting(self) -> bool:
        """Return whether requests wait for their turns."""
        return bool(self._waiting)

    async def enter(self) -> None:
        """Wait for the turn of the calling task; cancelling it gives the turn to the next one."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            if self._began is None:
                self._began = loop.time()
                self._schedule()
            if loop.time() - self._began < _BUDGET:
                return
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        """Begin the next wake-up with the request that waits longest; those whose task was cancelled are done."""
        self._began, self._is_scheduled = None, False
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._began = asyncio.get_running_loop().time()  # its work counts, too
                self._schedule()
                return
