"""Answers that wait for the registry, and stored answers for duplicates."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from span_events.config import RadiusConfig
from span_events.errors import StorageUnavailable
from span_events.listeners.radius.exchanges import Exchanges
from span_events.listeners.udp import Remote, UdpSocket
from span_events.wire.radius.packets import RadiusRequest, decode
from tests.bench.clock import ManualClock, settle
from tests.bench.waiting import until
from tests.wire.radius.building import SECRET, access_request


class Registry:
    """A registry whose writes end when the test lets them."""

    def __init__(self) -> None:
        self.writes: list[asyncio.Future[None]] = []

    async def commit(self) -> None:
        """Wait for the test."""
        self.writes.append(asyncio.get_running_loop().create_future())
        await self.writes[-1]


class Bench:
    """Exchanges with a socket, and a client that receives the answers."""

    def __init__(self, exchanges: Exchanges, registry: Registry, clock: ManualClock, opened: UdpSocket) -> None:
        self.exchanges = exchanges
        self.registry = registry
        self.clock = clock
        self._socket = opened
        self._client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._client.bind(("127.0.0.1", 0))
        self._client.setblocking(False)
        self.remote: Remote = self._client.getsockname()

    def answer(self, request: RadiusRequest, answer: bytes, *, when_written: bool = True) -> None:
        """Answer a request."""
        self.exchanges.answer(request, self.remote, self._socket, answer, when_written=when_written)

    @property
    def heard(self) -> list[bytes]:
        """Return the answers received since the last call."""
        found = []
        while True:
            try:
                found.append(self._client.recv(4096))
            except BlockingIOError:
                return found

    def close(self) -> None:
        """Close the client."""
        self._client.close()


@asynccontextmanager
async def exchanging(**settings: Any) -> AsyncIterator[Bench]:
    """Exchanges whose answers are sent."""
    registry, clock = Registry(), ManualClock()
    opened = UdpSocket("radius", "127.0.0.1", 0, receive_buffer=65536, receive=lambda *_: None)
    opened.open()
    exchanges = Exchanges(RadiusConfig(**settings), commit=registry.commit, clock=clock)
    running = asyncio.ensure_future(exchanges.run())
    bench = Bench(exchanges, registry, clock, opened)
    yield bench
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    bench.close()
    opened.close()


def request(identifier: int = 1, authenticator: int = 0) -> RadiusRequest:
    """Return a request with its own authenticator."""
    return decode(access_request(identifier=identifier, authenticator=bytes((authenticator,)) * 16), SECRET)


def gauge(bench: Bench, name: str) -> float:
    """Read a metric."""
    (value,) = [each.value for each in bench.exchanges.metrics() if each.name == name]
    read: Callable[[], Any] = value
    return float(read())


async def test_answers_are_collected_while_the_registry_is_written() -> None:
    """All are sent after the next transaction, in order."""
    async with exchanging() as bench:
        bench.answer(request(1), b"1")
        await settle()
        bench.answer(request(2), b"2")
        bench.answer(request(3), b"3")
        await settle()
        before, waiting = bench.heard, bench.exchanges.waiting
        bench.registry.writes[0].set_result(None)
        await settle()
        first = bench.heard
        bench.registry.writes[1].set_result(None)
        await settle()

        assert (before, waiting, first, bench.heard) == ([], 3, [b"1"], [b"2", b"3"])
        assert (len(bench.registry.writes), bench.exchanges.waiting) == (2, 0)


async def test_an_answer_that_need_not_wait_is_sent_at_once() -> None:
    async with exchanging() as bench:
        bench.answer(request(), b"now", when_written=False)

        assert bench.heard == [b"now"]
        assert bench.registry.writes == []


async def test_a_duplicate_gets_the_stored_answer_once_it_is_due() -> None:
    """Before that it is dropped; another request with the same identifier is no duplicate."""
    async with exchanging() as bench:
        bench.answer(request(), b"answer")
        await settle()
        early = bench.exchanges.repeat(request(), bench.remote)
        nothing = bench.heard
        bench.registry.writes[0].set_result(None)
        await settle()
        late = bench.exchanges.repeat(request(), bench.remote)

        assert (early, nothing, late, bench.heard) == (True, [], True, [b"answer", b"answer"])
        assert not bench.exchanges.repeat(request(authenticator=1), bench.remote)
        assert not bench.exchanges.repeat(request(2), bench.remote)
        assert not bench.exchanges.repeat(request(), ("127.0.0.1", 1))


async def test_stored_requests_are_bounded_in_time_and_number() -> None:
    """radius.remember and radius.remembered_requests."""
    async with exchanging(remember=30.0, remembered_requests=2) as bench:
        for identifier in (1, 2, 3):
            bench.answer(request(identifier), b"x", when_written=False)
        known = [bench.exchanges.repeat(request(identifier), bench.remote) for identifier in (1, 2, 3)]
        size = gauge(bench, "radius_remembered_requests")
        bench.clock.shift(30.0)

        assert (known, size) == ([False, True, True], 2)
        assert not bench.exchanges.repeat(request(3), bench.remote)


async def test_waiting_answers_are_bounded() -> None:
    """radius.waiting_answers; answers whose transaction is being written count too."""
    async with exchanging(waiting_answers=2) as bench:
        bench.answer(request(1), b"1")
        await settle()
        one = bench.exchanges.is_full
        bench.answer(request(2), b"2")

        assert (one, bench.exchanges.is_full) == (False, True)
        assert gauge(bench, "radius_waiting_answers") == 2
        bench.registry.writes[0].set_result(None)
        await settle()
        assert not bench.exchanges.is_full


async def test_a_request_whose_write_failed_is_not_answered() -> None:
    """Its retransmission is handled again. The log has one line, health shows it as long as it lasts."""
    async with exchanging() as bench:
        with capture_logs() as logs:
            for identifier in (1, 2):
                bench.answer(request(identifier), b"lost")
                await settle()
                bench.registry.writes[-1].set_exception(StorageUnavailable("disk full"))
                await settle()
            sick = bench.exchanges.health
            known = bench.exchanges.repeat(request(1), bench.remote)
            bench.answer(request(1), b"answer")
            await settle()
            bench.registry.writes[-1].set_result(None)
            await settle()

        assert (sick, known, bench.heard) == ("writing failed: disk full", False, [b"answer"])
        assert bench.exchanges.health == "ok"
        assert gauge(bench, "radius_unwritten") == 2
        assert [each["event"] for each in logs] == ["radius_registry_failed", "radius_registry_works_again"]


async def test_health_recovers_without_a_new_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has room again: the registry is tried until it can be written."""
    monkeypatch.setattr("span_events.listeners.radius.exchanges._RETRY", 0.01)
    async with exchanging() as bench:
        bench.answer(request(1), b"lost")
        await settle()
        bench.registry.writes[-1].set_exception(StorageUnavailable("disk full"))
        await until(lambda: len(bench.registry.writes) == 2)
        sick = bench.exchanges.health
        bench.registry.writes[-1].set_exception(StorageUnavailable("disk full"))
        await until(lambda: len(bench.registry.writes) == 3)
        bench.registry.writes[-1].set_result(None)
        await until(lambda: bench.exchanges.health == "ok")

        assert sick == "writing failed: disk full"
        assert gauge(bench, "radius_unwritten") == 1
        assert bench.heard == []


async def test_a_failed_write_does_not_remove_a_later_request() -> None:
    """A NAS may use an identifier again before the write of the first request ends."""
    async with exchanging() as bench:
        bench.answer(request(1), b"first")
        await settle()
        bench.answer(request(1, authenticator=1), b"second", when_written=False)
        bench.registry.writes[0].set_exception(StorageUnavailable("disk full"))
        await settle()

        assert bench.exchanges.repeat(request(1, authenticator=1), bench.remote)
        assert bench.heard == [b"second", b"second"]


async def test_an_answer_that_cannot_be_sent_is_counted() -> None:
    """No host is reachable at port 0; the duplicate finds the same answer."""
    async with exchanging() as bench:
        bench.remote = ("127.0.0.1", 0)
        bench.answer(request(), b"x", when_written=False)

        assert gauge(bench, "radius_unsent") == 1
        assert bench.exchanges.repeat(request(), bench.remote)
