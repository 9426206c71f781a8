"""
Questions: input of an unknown sender waits until the registry was asked whether another node has registered the sender.

A question shows every change that was committed before it. One question is under way at a time, and all input that came
before it shares its answer, so that a flood of unknown senders costs a bounded number of queries. While the changes of
other nodes are not followed, or the last question has no answer yet, input is decided by what this node knows.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from span_events.bounded.expiring import ExpiringMap
from span_events.errors import StorageUnavailable
from span_events.log import get_logger
from span_events.metrics import Measure, Metric

log = get_logger("registry")

PATIENCE: Final = 0.5
"""Seconds that input waits for an answer at most."""
_PAUSE: Final = 0.05
"""Seconds from an answer to the next question."""
_MOST: Final = 1_024
"""Upper bound of datagrams and requests that wait."""
_OCTETS: Final = 1 << 20
"""Upper bound of their octets."""
_PER_TURN: Final = 8
"""Held input that is decided before the event loop continues with other work."""
_PER_HOST: Final = 8
"""Datagrams and requests of one host that wait; one when half of the room is taken."""
_REST: Final = 1.0
"""Seconds after an answer in which no question is asked on behalf of the same host."""
_HOSTS: Final = 10_000
"""Hosts that rest; beyond it, the host that was answered first is evicted."""

Again = Callable[[], None]
"""Handles held input again."""


class _Held(NamedTuple):
    again: Again
    host: str | None
    octets: int


class Questions:
    """
    The questions of this node; without other nodes there are none.

    Args:
        now: Monotonic seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.patience = PATIENCE
        self._is_open = False
        self._held: list[_Held] = []  # waits for the next question
        self._asked: list[_Held] = []  # waits for the answer of the question under way
        self._due: deque[_Held] = deque()  # waits for its turn to be decided
        self._octets = 0
        self._woken = asyncio.Event()
        self._hosts = Counter[str | None]()  # of all that waits
        self._resting: ExpiringMap[str, bool] = ExpiringMap(limit=_HOSTS, lifetime=_REST)
        self._outcomes = Counter[str]()
        self._unheld = 0

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        return [
            Metric(
                "registry_questions",
                "Questions to the registry about unknown senders, by outcome.",
                "counter",
                lambda: {each: self._outcomes[each] for each in ("answered", "late", "failed")},
                label="outcome",
            ),
            Metric(
                "registry_held",
                f"Input of unknown senders that waits for a question; at most {_MOST}.",
                "gauge",
                lambda: self._waiting,
            ),
            Metric(
                "registry_unheld",
                "Input of unknown senders that was decided without a question, because a limit was reached.",
                "counter",
                lambda: self._unheld,
            ),
        ]

    def hold(self, again: Again, *, host: str | None, octets: int) -> bool:
        """
        Hold input until the next question is answered; return False if it is to be decided now.

        Args:
            again: Called once: after the answer, or when none came in time. It finds no question open.
            host: Sender, whose questions are limited; None for a sender that another limit admitted.
            octets: Size of what is held.
        """
        if not self._is_open or (host and self._resting.get(host, self._now())):
            return False
        is_full = self._waiting >= _MOST or self._octets + octets > _OCTETS
        if is_full or (host and self._hosts[host] >= (_PER_HOST if self._waiting < _MOST // 2 else 1)):
            self._unheld += 1
            return False
        self._hosts[host] += 1
        self._octets += octets
        self._held.append(_Held(again, host, octets))
        self._woken.set()
        return True

    async def ask(self, host: str) -> None:
        """Wait until a question was answered, or return at once if none is to be asked. Cancelling loses nothing."""
        answered = asyncio.get_running_loop().create_future()

        def again() -> None:
            if not answered.done():
                answered.set_result(None)

        if self.hold(again, host=host, octets=0):
            await answered

    async def run(self, question: Callable[[], Awaitable[None]]) -> None:
        """
        Ask until cancelled; then input that waits is decided by what is known.

        Args:
            question: Shows all changes that were committed before its call; may raise `StorageUnavailable`.
        """
        self._is_open = True
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                self._asked, self._held = self._held, []
                await self._answer(asyncio.ensure_future(question()))
                self._is_open = True
                await asyncio.sleep(_PAUSE)
        finally:
            self._is_open = False
            self._decide_all()

    async def _answer(self, question: asyncio.Future[None]) -> None:
        """Wait for the answer of a question, and decide all input that waited for it."""
        try:
            in_time, _ = await asyncio.wait({question}, timeout=self.patience)
            if not in_time:
                self._is_open = False
                self._decide_all()
                await asyncio.wait({question})
        except asyncio.CancelledError:
            # Nobody asks for its answer any more, nor for the fault of a rollback over a connection that was lost.
            question.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
            question.cancel()
            raise
        fault = question.exception()
        if fault is not None and not isinstance(fault, StorageUnavailable):
            log.error("registry_question_defect", exc_info=fault)
        self._outcomes["failed" if fault else "answered" if in_time else "late"] += 1
        self._decide_asked()

    @property
    def _waiting(self) -> int:
        return len(self._held) + len(self._asked) + len(self._due)

    def _decide_all(self) -> None:
        self._asked, self._held = self._asked + self._held, []
        self._decide_asked()

    def _decide_asked(self) -> None:
        """Decide input that waited for an answer, in turns: many handshakes at once would block the event loop."""
        if self._asked and not self._due:
            asyncio.get_running_loop().call_soon(self._take_turn)
        self._due += self._asked
        self._asked = []

    def _take_turn(self) -> None:
        was_open, self._is_open = self._is_open, False  # nothing is held twice
        for _ in range(min(_PER_TURN, len(self._due))):
            again, host, octets = self._due.popleft()
            self._octets -= octets
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
            if host:
                self._resting.put(host, True, self._now())
            try:
                again()
            except Exception:
                log.exception("held_input_defect")
        self._is_open = was_open
        if self._due:
            asyncio.get_running_loop().call_soon(self._take_turn)
