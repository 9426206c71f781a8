"""Claims: a waiting message of a registry that several nodes share is sent by the node that claimed it."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
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
"""Seconds after which a claim without use is given back: the device went to another node, or its radio is off."""
_VALID: Final = 7.0
"""
Seconds for which a claim holds without another query: it lasts as long as its node's lease, which the claim renews.

A node that stood still for longer may have lost its lease, and with it the claim.
"""

SLICE: Final = 100
"""Upper bound of messages in one query: other writes come in between."""


class Claims:
    """
    The messages that this node may send; a single node may send all.

    A claim needs a query, so only a device with a waiting message costs one. While a query of `claim_then` is under
    way, all messages that come share the next one.

    Args:
        refused: Looks again at messages that could not be claimed.
    """

    def __init__(self, store: Store, clock: Clock, *, refused: Callable[[AbstractSet[int]], Awaitable[None]]) -> None:
        self._store = store
        self._clock = clock
        self._refused = refused
        self.are_needed = store.is_shared
        self._held: dict[int, float] = {}  # monotonic time before the query, after the writes that it waited for
        self._asked: Counter[int] = Counter()  # queries under way by message
        self._given_back: set[int] = set()  # until the registry knows; none of them is held
        self._pending: deque[tuple[Downstream, Callable[[], None]]] = deque()  # with the work that follows
        self._task: asyncio.Task[None] | None = None  # while any is pending
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
        if not self.are_needed:
            return True
        asked_at = self._held.get(message.id)
        return asked_at is not None and self._clock.monotonic() < asked_at + _VALID

    async def claim(self, message: Downstream) -> bool:
        """
        Claim a message; False if another node has it.

        Raises:
            StorageUnavailable: PostgreSQL is away.
        """
        return bool(await self.claim_all([message]))

    async def claim_all(self, messages: Sequence[Downstream]) -> list[Downstream]:
        """
        Claim messages with one query, and return those that this node may send now.

        Raises:
            StorageUnavailable: PostgreSQL is away.
        """
        wanted = {each.id for each in messages if not self.holds(each)}
        if wanted:
            await self._ask(wanted)
        return [each for each in messages if self.holds(each)]

    async def attempt(self, message: Downstream) -> bool:
        """Claim a message; False if another node has it, or if PostgreSQL is away, which is logged."""
        return bool(await self._attempt_all([message]))

    def claim_then(self, message: Downstream, work: Callable[[], None]) -> None:
        """Do some work once a message is claimed: at once if this node holds the claim, never if the claim fails."""
        if self.holds(message):
            work()
            return
        self._asked[message.id] += 1
        self._pending.append((message, work))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._claim_pending())

    def forget(self, message_id: int) -> None:
        """Forget the claim of a message that waits no longer."""
        self._held.pop(message_id, None)
        self._given_back.discard(message_id)

    def give_back_unused(self, used: Callable[[int], bool]) -> None:
        """
        Give up claims that are older than `_UNUSED` seconds and not in use; `take_given_back` returns them.

        Args:
            used: Tells whether a path of this node carries a message now.
        """
        since = self._clock.monotonic() - _UNUSED
        unused = [each for each, asked_at in self._held.items() if asked_at <= since and not used(each)]
        for each in unused:
            del self._held[each]
        self._given_back.update(unused)
        self._outcomes["expired"] += len(unused)

    def take_given_back(self) -> list[int]:
        """
        Return the messages whose claims the caller releases now, before any later query.

        Those that are asked for again stay: the release would come after the answer.
        """
        taken = self._given_back - self._asked.keys()
        self._given_back -= taken
        return sorted(taken)

    def release_later(self, taken: Sequence[int]) -> None:
        """Keep claims that the registry could not release, unless they were made anew, or are asked for."""
        self._given_back.update(each for each in taken if each not in self._held and each not in self._asked)

    async def close(self) -> None:
        """Cancel the queries under way, and drop the work that waits for them."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _attempt_all(self, messages: Sequence[Downstream]) -> list[Downstream]:
        try:
            return await self.claim_all(messages)
        except StorageUnavailable as exc:
            if count := self._quiet.admits("message_not_claimed", self._clock.monotonic()):
                log.warning("message_not_claimed", detail=str(exc), hint=exc.hint, count=count)
            return []

    async def _claim_pending(self) -> None:
        """Claim the messages that are pending, with a query for each slice, and do the work that follows."""
        try:
            while self._pending:
                taken = [self._pending.popleft() for _ in range(min(SLICE, len(self._pending)))]
                try:
                    claimed = {each.id for each in await self._attempt_all([message for message, _ in taken])}
                finally:
                    self._asked -= Counter(message.id for message, _ in taken)
                for message, work in taken:
                    if message.id in claimed:
                        self._do(work)
        finally:
            self._task = None

    def _do(self, work: Callable[[], None]) -> None:
        """Do the work that sends a claimed message; a defect is logged, and the other messages are sent."""
        try:
            work()
        except Exception:
            log.exception("claimed_message_defect")

    async def _ask(self, wanted: set[int]) -> None:
        """Claim messages in PostgreSQL, and call ``refused`` with those that could not be claimed."""
        asked_at = self._clock.monotonic()

        def begins() -> None:
            nonlocal asked_at
            asked_at = self._clock.monotonic()

        self._asked.update(wanted)
        claimed = None
        try:
            claimed = await self._store.claim_downstream(sorted(wanted), begins)
            self._held |= dict.fromkeys(claimed, asked_at)
            self._given_back -= claimed
            lost = wanted - claimed
            self._outcomes["claimed"] += len(claimed)
            self._outcomes["lost"] += len(lost)
            for each in lost:
                self._held.pop(each, None)
            if lost:
                await self._refused(lost)
        except StorageUnavailable:
            self._outcomes["failed"] += len(wanted)
            raise
        finally:
            self._asked -= Counter(wanted)
            if claimed is None:  # PostgreSQL may have claimed the messages, and only the answer was lost
                self._given_back |= wanted - self._held.keys()
