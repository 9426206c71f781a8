"""The supervisor: tasks that must not end, and repeated actions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from span_events.app.supervisor import Supervisor
from span_events.errors import DatabaseUnavailable, StorageUnavailable
from tests.bench.clock import ManualClock, settle


async def test_a_repeated_action_goes_on_after_failures_and_shows_the_last_one() -> None:
    """One line in the log when it begins to fail, one when it works again."""
    clock, broken, times = ManualClock(), True, 0

    async def write() -> None:
        nonlocal times
        times += 1
        if broken:
            raise OSError("the disk is full")

    supervisor = Supervisor(clock)
    supervisor.every(1.0, "registry", write)
    with capture_logs() as lines:
        await clock.advance(2.0)
        failing = dict(supervisor.failing)
        broken = False
        await clock.advance(1.0)
    await supervisor.close()

    assert times == 3
    assert (failing, supervisor.failing) == ({"registry": "failed: the disk is full"}, {})
    assert [each["event"] for each in lines] == ["repeated_action_failed", "repeated_action_works_again"]


async def test_a_failure_that_is_explained_is_logged_with_its_hint_and_without_a_traceback() -> None:
    """While a database is away, an engineer reads one line for each action, not pages of a driver's code."""
    clock = ManualClock()

    async def write() -> None:
        raise StorageUnavailable("the registry cannot be reached")

    supervisor = Supervisor(clock)
    supervisor.every(1.0, "registry", write)
    with capture_logs() as lines:
        await clock.advance(1.0)
    await supervisor.close()

    (line,) = lines
    assert (line["detail"], line["hint"]) == ("the registry cannot be reached", StorageUnavailable.hint)
    assert "exc_info" not in line


async def test_a_failure_that_every_node_has_degrades_this_one() -> None:
    """A balancer must not take all nodes away because their database is down."""
    clock = ManualClock()
    failures = iter([DatabaseUnavailable("PostgreSQL is down"), StorageUnavailable("the disk is full")])

    async def write() -> None:
        raise next(failures)

    supervisor = Supervisor(clock, common=(DatabaseUnavailable,))
    supervisor.every(1.0, "registry", write)
    shown = []
    for _ in range(2):
        await clock.advance(1.0)
        shown.append(supervisor.failing["registry"])
    await supervisor.close()

    assert shown == ["degraded: PostgreSQL is down", "failed: the disk is full"]


async def test_work_that_failed_is_begun_anew_and_well_as_soon_as_it_says_so() -> None:
    """A connection that is kept has no end to wait for."""
    clock, begun = ManualClock(), 0

    async def follow(ready: Callable[[], None]) -> None:
        nonlocal begun
        begun += 1
        if begun == 1:
            raise OSError("the connection was lost")
        ready()
        await asyncio.get_running_loop().create_future()

    supervisor = Supervisor(clock)
    with capture_logs() as lines:
        supervisor.keep(1.0, "changes", follow)
        await settle()
        failing = dict(supervisor.failing)
        await clock.advance(1.0)
    await supervisor.close()

    assert (failing, supervisor.failing) == ({"changes": "failed: the connection was lost"}, {})
    assert [each["event"] for each in lines] == ["repeated_action_failed", "repeated_action_works_again"]


async def test_a_task_that_ends_is_a_failure() -> None:
    """The process must learn of it at once."""

    async def end() -> None: ...

    supervisor = Supervisor(ManualClock())
    supervisor.run("coap", end)
    with pytest.raises(RuntimeError, match="coap ended by itself"):
        await supervisor.failed
    await supervisor.close()


async def test_closing_waits_until_everything_has_ended() -> None:
    """The task's cleanup runs."""
    released = []

    async def serve() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)
            released.append(True)

    supervisor = Supervisor(ManualClock())
    supervisor.run("coap", serve)
    await settle()
    await supervisor.close()

    assert released == [True]
    assert not supervisor.failed.done()
