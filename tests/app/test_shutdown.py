"""The order of a shutdown, and steps that fail in it."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from span_events.app.shutdown import Started, shut_down
from span_events.app.supervisor import Supervisor
from tests.bench.clock import ManualClock


class Part:
    """A part that notes when it stops, under the name that shutdown has for it."""

    def __init__(self, name: str, stopped: list[str], failure: Exception | None = None) -> None:
        self.name = name
        self._stopped = stopped
        self._failure = failure

    async def stop(self) -> None:
        """Note the stop."""
        self._stopped.append(self.name)
        if self._failure is not None:
            raise self._failure

    async def cleanup(self) -> None:
        """Note the stop, as aiohttp calls it."""
        await self.stop()

    def close(self) -> Any:
        """Note the stop, whether it is awaited or not."""
        if self.name == "lock":
            self._stopped.append(self.name)
            return None
        return self.stop()


def started(stopped: list[str], **failures: Exception) -> Started:
    """Make every part; those named fail to stop."""

    def part(name: str) -> Any:
        return Part(name, stopped, failures.get(name))

    return Started(
        Supervisor(ManualClock()),
        folder_lock=part("lock"),
        store=part("registry"),
        fleet=part("fleet"),
        web=[part("http")],
        streams=[part("streams")],
        outputs=part("outputs"),
        listeners=[part("datagrams"), part("coap")],
    )


async def test_parts_stop_in_the_written_order() -> None:
    """The order loses least: input first, then the readers, then the registry."""
    stopped: list[str] = []
    await shut_down(started(stopped))

    assert stopped == ["coap", "datagrams", "streams", "http", "outputs", "fleet", "registry", "lock"]


async def test_a_step_that_fails_does_not_keep_the_next_ones_from_running() -> None:
    """The first failure is raised when all steps are over."""
    stopped: list[str] = []
    with pytest.raises(ValueError, match="first"):
        await shut_down(started(stopped, coap=ValueError("first"), http=OSError("second")))

    assert stopped == ["coap", "datagrams", "streams", "http", "outputs", "fleet", "registry", "lock"]


async def test_a_part_that_does_not_stop_is_given_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("span_events.app.shutdown._LISTENER", 0.01)
    stopped: list[str] = []
    parts = started(stopped)

    async def hang() -> None:
        await asyncio.Event().wait()

    cast(Any, parts.listeners[1]).stop = hang
    with pytest.raises(TimeoutError):
        await shut_down(parts)

    assert stopped == ["datagrams", "streams", "http", "outputs", "fleet", "registry", "lock"]


async def test_only_started_parts_stop() -> None:
    """A start that failed early leaves most parts unmade."""
    stopped: list[str] = []
    parts = started(stopped)
    parts.fleet = parts.outputs = None
    parts.web = []
    parts.streams = []
    parts.listeners.clear()
    await shut_down(parts)

    assert stopped == ["registry", "lock"]


async def test_a_cancelled_step_does_not_keep_the_next_ones_from_running() -> None:
    """The cancellation is raised when all steps are over."""
    stopped: list[str] = []
    parts = started(stopped)

    async def cancelled() -> None:
        raise asyncio.CancelledError

    cast(Any, parts.listeners[1]).stop = cancelled
    with pytest.raises(asyncio.CancelledError):
        await shut_down(parts)

    assert stopped == ["datagrams", "streams", "http", "outputs", "fleet", "registry", "lock"]
