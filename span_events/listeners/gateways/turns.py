"""
Turns: connections with more input than one wake-up may process wait here, and each has its turn.

The event loop serves all other sockets between two turns, however many connections wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol


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
        worker = self._waiting[0]
        goes_on = worker.take_turn()
        self._waiting.popleft()
        if goes_on:
            self._waiting.append(worker)
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
