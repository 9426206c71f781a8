"""Turns of requests: many that come at once begin in as many wake-ups of the event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from span_events.turns import RequestTurns
from tests.bench.waiting import until


class Bench:
    """Requests that take longer than a wake-up's time, and other work."""

    def __init__(self) -> None:
        self.turns = RequestTurns()
        self.order: list[str] = []

    async def request(self, name: str, *, times: int = 1) -> None:
        """Begin a request, or several of one connection."""
        for _ in range(times):
            await self.turns.enter()
            time.sleep(0.006)  # noqa: ASYNC251  # the work of a handler
            self.order.append(name)
            asyncio.get_running_loop().call_soon(self.order.append, "others")


async def test_other_work_goes_on_between_requests_that_come_at_once() -> None:
    bench = Bench()
    await asyncio.gather(*(bench.request(name) for name in "abc"))
    await until(lambda: len(bench.order) == 6)

    assert bench.order == ["a", "others", "b", "others", "c", "others"]


async def test_other_work_goes_on_between_requests_of_one_connection() -> None:
    bench = Bench()
    await bench.request("a", times=3)
    await until(lambda: len(bench.order) == 6)

    assert bench.order == ["a", "others"] * 3


async def test_requests_begin_at_once_while_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other task runs meanwhile."""
    monkeypatch.setattr("span_events.turns._BUDGET", 60.0)
    turns = RequestTurns()
    entering = [turns.enter() for _ in range(3)]
    for each in entering:
        try:
            each.send(None)
        except StopIteration:
            continue
        raise AssertionError("the request waits")


async def test_a_request_that_is_cancelled_gives_its_turn_to_the_next() -> None:
    bench = Bench()
    tasks = [asyncio.create_task(bench.request(name)) for name in "abc"]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.wait(tasks)

    assert [each for each in bench.order if each != "others"] == ["a", "c"]
    assert tasks[1].cancelled()
