"""Claims: a waiting message of a registry that several nodes share is sent by the node that claimed it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.errors import StorageUnavailable
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.model import Downstream
from span_events.registry.store import Store

log = get_logger("outbox")

_UNUSED: Final = 5.0
"""
Seconds after which a claim without use is given back: the device went to another node, or its radio is off.

A claim lasts as long as its node's lease, which ends 7 s after the claim at the earliest.
"""


class Claims:
    """
    The messages that this node may send; a single node may send all.

    A claim is a query of its own, so only a device with a waiting message costs one.

    Args:
        refused: Looks again at a message that could not be claimed.
    """

    def __init__(self, store: Store, clock: Clock, *, refused: Callable[[int], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._refused = refused
        self.are_needed = store.is_shared
        self._held: dict[int, float] = {}  # monotonic time at which the claim was asked for
        self._given_back: set[int] = set()  # until the registry knows
        self._asked: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._quiet = OncePerMinute(1)
        self._outcomes = dict.fromkeys(("claimed", "lost", "failed", "expired"), 0)

    def metrics(self) -> list[Metric]:
        """List the metrics; none of a single node, which claims nothing."""
        if not self.are_needed:
            return []
        return [
            Metric(
                "downstream_claims",
                "Attempts to claim a waiting message: claimed, lost to another node, or failed as PostgreSQL was away;"
                " and claims that expired without use.",
                "counter",
                lambda: self._outcomes,
                label="outcome",
            ),
            Metric(
                "downstream_claims_waiting",
                "Claims that PostgreSQL has not answered.",
                "gauge",
                lambda: len(self._asked),
            ),
        ]

    def is_free(self, message_id: int) -> bool:
        """Return whether nobody on this node waits for a claim of a message."""
        return message_id not in self._asked

    def holds(self, message: Downstream) -> bool:
        """Return whether this node may send a message now."""
        return not self.are_needed or message.id in self._held

    async def claim(self, message: Downstream) -> bool:
        """Claim a message; False if another node has it, or PostgreSQL is away."""
        if self.holds(message):
            return True
        began = self._clock.monotonic()
        self._asked.add(message.id)
        claimed: bool | None = None
        try:
            claimed = await self._store.claim_downstream(message.id)
            self._outcomes["claimed" if claimed else "lost"] += 1
            if not claimed:
                await self._refused(message.id)
        except StorageUnavailable as exc:
            self._outcomes["failed"] += 1
            if count := self._quiet.admits("message_not_claimed", self._clock.monotonic()):
                log.warning("message_not_claimed", detail=str(exc), hint=exc.hint, count=count)
            return False
        finally:
            self._asked.discard(message.id)
            if claimed is None:  # the registry may have it, and only the answer was lost
                self._given_back.add(message.id)
        if claimed:
            self._held[message.id] = began
            self._given_back.discard(message.id)
        return claimed

    def claim_then(self, message: Downstream, work: Callable[[], None]) -> None:
        """Do some work once a message is claimed: at once, or soon, or not at all."""
        if self.holds(message):
            work()
            return

        async def wait() -> None:
            if await self.claim(message):
                work()

        task = asyncio.get_running_loop().create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def forget(self, message_id: int) -> None:
        """Forget a message that waits no longer."""
        self._held.pop(message_id, None)

    def give_back_unused(self, used: Callable[[int], bool]) -> None:
        """
        Give back the claims without use.

        Args:
            used: Tells whether a path of this node carries a message now.
        """
        since = self._clock.monotonic() - _UNUSED
        for each in [each for each, when in self._held.items() if when <= since and not used(each)]:
            del self._held[each]
            self._given_back.add(each)
            self._outcomes["expired"] += 1

    def take_given_back(self) -> list[int]:
        """Return the messages whose claims the registry has to release, but for those that are asked for again."""
        found = sorted(self._given_back - self._asked)
        self._given_back.difference_update(found)
        return found

    def release_later(self, given_back: Iterable[int]) -> None:
        """Keep claims that the registry could not release, unless they were made anew."""
        self._given_back.update(set(given_back) - self._held.keys())

    async def close(self) -> None:
        """Give up the claims under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
