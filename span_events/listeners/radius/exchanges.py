"""
Answers to RADIUS requests: sent at once or after the registry is written, and stored for duplicates.

A NAS retransmits a request with the same octets until it gets an answer. A duplicate gets the stored answer
and is not handled again (RFC 5080 §2.2.2). While a transaction is written, answers are collected and sent
after the next transaction, so that a storm of requests costs few transactions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from span_events.bounded.expiring import ExpiringMap
from span_events.clock import Clock
from span_events.config import RadiusConfig
from span_events.listeners.udp import UdpSocket
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.wire.radius.packets import RadiusRequest

_RETRY: Final = 1.0
"""Seconds until the registry is tried again after a failure, also without a new request."""

log = get_logger("listeners.radius")

_Key = tuple[Remote, int, int]
"""Sender, code and identifier. A NAS may use them for its next request once it has the answer."""


@dataclass(slots=True, eq=False)
class _Exchange:
    """A handled request with its answer; the rest of the request is not stored."""

    key: _Key
    authenticator: bytes
    socket: UdpSocket
    answer: bytes
    is_due: bool
    """True when the answer may be sent."""
    may_leave: Callable[[], bool]
    """Asked once, when the registry is written."""


def _yes() -> bool:
    return True


class Exchanges:
    """
    The recent requests, and the answers that wait for the registry.

    Args:
        commit: Waits until the registry holds the changes of all handled requests; raises if the write fails.
    """

    def __init__(self, config: RadiusConfig, *, commit: Callable[[], Awaitable[None]], clock: Clock) -> None:
        self._commit = commit
        self._clock = clock
        self._most_waiting = config.waiting_answers
        self._exchanges: ExpiringMap[_Key, _Exchange] = ExpiringMap(
            limit=config.remembered_requests, lifetime=config.remember
        )
        self._waiting: list[_Exchange] = []
        self._in_writing = 0
        self._wake = asyncio.Event()
        self._failure = ""
        self._unwritten = 0
        self._unsent = 0

    @property
    def waiting(self) -> int:
        """Number of answers that wait for the registry."""
        return len(self._waiting) + self._in_writing

    @property
    def is_full(self) -> bool:
        """True while no more answers may wait."""
        return self.waiting >= self._most_waiting

    @property
    def health(self) -> str:
        """``ok``, or the reason for missing answers."""
        return self._failure or "ok"

    def metrics(self) -> list[Metric]:
        """List the metrics of requests and answers."""
        return [
            Metric(
                "radius_remembered_requests",
                "Requests in memory; at most radius.remembered_requests.",
                "gauge",
                lambda: len(self._exchanges),
            ),
            Metric(
                "radius_waiting_answers",
                "Answers that wait for the registry; at most radius.waiting_answers.",
                "gauge",
                lambda: self.waiting,
            ),
            Metric(
                "radius_unwritten",
                "Requests without an answer because the registry could not be written.",
                "counter",
                lambda: self._unwritten,
            ),
            Metric(
                "radius_unsent", "Answers that the operating system could not send.", "counter", lambda: self._unsent
            ),
        ]

    def repeat(self, request: RadiusRequest, remote: Remote) -> bool:
        """Return True for a duplicate of a handled request, and send the stored answer if it is due."""
        earlier = self._exchanges.get((remote, request.code, request.identifier), self._clock.monotonic())
        if earlier is None or earlier.authenticator != request.authenticator:
            return False
        if earlier.is_due:
            self.send(earlier.socket, remote, earlier.answer)
        return True

    def answer(
        self,
        request: RadiusRequest,
        remote: Remote,
        socket: UdpSocket,
        answer: bytes,
        *,
        when_written: bool,
        may_leave: Callable[[], bool] = _yes,
    ) -> None:
        """
        Answer a handled request at once, or as soon as the registry is written.

        Args:
            may_leave: Tells then whether the answer is still true; if not, the retransmission is a new request.
        """
        key = remote, request.code, request.identifier
        exchange = _Exchange(key, request.authenticator, socket, answer, is_due=not when_written, may_leave=may_leave)
        self._exchanges.put(key, exchange, self._clock.monotonic())
        if when_written:
            self._waiting.append(exchange)
            self._wake.set()
        else:
            self.send(socket, remote, answer)

    def send(self, socket: UdpSocket, remote: Remote, answer: bytes) -> None:
        """Send an answer; if sending fails, the NAS retransmits its request."""
        try:
            socket.send(answer, remote)
        except OSError as exc:
            self._unsent += 1
            log.debug("radius_unsent", remote=remote[0], error=str(exc))

    async def run(self) -> NoReturn:
        """Write the registry and send the waiting answers, forever. Cancelling loses them; the NAS retransmits."""
        while True:
            await self._woken()
            batch, self._waiting = self._waiting, []
            self._in_writing = len(batch)
            try:
                await self._commit()
            except Exception as exc:
                self._forget(batch, exc)
            else:
                self._release(batch)
            self._in_writing = 0

    async def _woken(self) -> None:
        """Wait until an answer waits; while writing fails, at most until it is time to try again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_RETRY if self._failure else None):
                await self._wake.wait()
        self._wake.clear()

    def _release(self, batch: list[_Exchange]) -> None:
        if self._failure:
            log.info("radius_registry_works_again", unwritten=self._unwritten)
            self._failure = ""
        for each in batch:
            if not each.may_leave():
                self._exchanges.forget(each.key)
                continue
            each.is_due, each.may_leave = True, _yes
            self.send(each.socket, each.key[0], each.answer)

    def _forget(self, batch: list[_Exchange], error: Exception) -> None:
        """Leave requests unanswered; their retransmissions are handled as new requests."""
        if not self._failure:
            log.error("radius_registry_failed", error=str(error), hint="Nothing that it must keep is answered now.")
        self._failure = f"writing failed: {error}"
        self._unwritten += len(batch)
        now = self._clock.monotonic()
        for each in batch:
            if self._exchanges.get(each.key, now) is each:
                self._exchanges.forget(each.key)
