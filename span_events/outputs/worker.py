"""
Workers: one per output, each with a bounded queue of its own, so that a sick target harms no other output.

Delivery is best effort. A failed delivery is tried again after a pause that doubles, with jitter; meanwhile the
queue fills, and beyond its bound the oldest items are dropped and counted.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

from span_events.clock import Clock
from span_events.config import OutputsConfig
from span_events.events.message import Message
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure, OutputsHealth
from span_events.log import get_logger
from span_events.outputs.base import DeliveryFailed, Item, Sender
from span_events.registry.outputs import Output

log = get_logger("outputs")

_OF_EVENT: Final = 512
"""Octets that an event counts in the queue, roughly."""


class Worker:
    """Delivers the items of one output, in their order."""

    def __init__(
        self,
        output: Output,
        sender: Sender,
        config: OutputsConfig,
        *,
        health: OutputsHealth,
        clock: Clock,
        accepts: Callable[[Item], bool] = lambda _item: True,
        queue: deque[Item] | None = None,
    ) -> None:
        self.output = output
        self.sender = sender
        self.queue: deque[Item] = queue if queue is not None else deque()
        """Items that wait; those under way are still in it."""
        self._octets = sum(_size(each) for each in self.queue)
        self._under_way = 0
        self._singly = 0
        """Items at the front that are sent one at a time: one of them may be what the target does not take."""
        self._config = config
        self._health = health
        self._accepts = accepts
        self._counters = health.of(output)
        self._clock = clock
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        (self._wake if self.queue else self._idle).set()

    def offer(self, item: Item) -> None:
        """Queue an item that the output accepts; beyond the bound, drop the oldest that is not under way."""
        if not self._accepts(item):
            return
        self._counters.received += 1
        self.queue.append(item)
        self._octets += _size(item)
        dropped = 0
        while self._is_over() and len(self.queue) > self._under_way:
            self._octets -= _size(self.queue[self._under_way])
            del self.queue[self._under_way]
            dropped += 1
        self._counters.waiting = len(self.queue)
        if dropped:
            self._health.dropped(self.output, self.sender.target, dropped)
        self._idle.clear()
        self._wake.set()

    async def flush(self) -> None:
        """Wait until nothing waits any more."""
        await self._idle.wait()

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                await self._wake.wait()
                if not self.queue:
                    self._wake.clear()
                    self._idle.set()
                    continue
                self._under_way = min(1 if self._singly else self.sender.batch, len(self.queue))
                if not await self._deliver([self.queue[index] for index in range(self._under_way)]):
                    self._singly = self._under_way
                    continue
                self._singly = max(0, self._singly - 1)
                for _ in range(self._under_way):
                    self._octets -= _size(self.queue.popleft())
                self._under_way = 0
                self._counters.waiting = len(self.queue)
        finally:
            await self.sender.close()

    async def _deliver(self, items: list[Item]) -> bool:
        """Try until the target takes the items or they are given up; return False if each must be tried alone."""
        answers = 0
        pause = self._config.first_pause
        while True:
            try:
                async with asyncio.timeout(self._config.timeout):
                    octets = await self.sender.send(items)
            except DeliveryFailed as exc:
                failed = exc
            except TimeoutError:
                text = f"no answer within {self._config.timeout:g} s"
                failed = DeliveryFailed(Failure(OutputReason.TIMEOUT, text))
                await self.sender.close()
            except Exception as exc:  # a defect of ours: other outputs must go on
                log.exception("output_defect", type=self.output.type.value)
                failed = DeliveryFailed(Failure(OutputReason.DEFECT, type(exc).__name__), answered=True)
            else:
                self._health.delivered(self.output, self.sender.target, items=len(items), octets=octets)
                return True
            self._health.failed(self.output, self.sender.target, failed.failure)
            answers += failed.answered
            # A status, such as 503, is about the target; a broker that just closes the connection dislikes one item.
            is_apart = len(items) > 1 and failed.answered and not failed.final and failed.failure.status is None
            if not is_apart and (failed.final or answers >= self._config.attempts):
                self._counters.dropped += len(items)
                answers = -1
            wanted = max(pause * random.uniform(0.5, 1.0), failed.pause or 0.0)  # noqa: S311  # jitter, not a secret
            await self._clock.sleep(min(self._config.longest_pause, wanted))
            if answers < 0:
                return True
            self._counters.retransmits += 1
            if is_apart:
                return False
            pause = min(self._config.longest_pause, pause * 2)

    def _is_over(self) -> bool:
        return len(self.queue) > self._config.queue or self._octets > self._config.queue_octets


def _size(item: Item) -> int:
    return len(item.payload) + _OF_EVENT if isinstance(item, Message) else _OF_EVENT
