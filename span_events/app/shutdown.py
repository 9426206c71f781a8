"""Shutdown: the order in which the parts of a server stop, each step with its deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import IO, Final, Protocol

from span_events.app.supervisor import Supervisor
from span_events.bus.local import LocalBus
from span_events.fleet.fleet import Fleet
from span_events.listeners.base import Listener
from span_events.log import get_logger
from span_events.outputs.outputs import Outputs
from span_events.registry.store import Store
from span_events.web.server import WebServer

log = get_logger("app")

_TASKS: Final = 5.0
"""Seconds for the background tasks to end after they are cancelled."""
_LISTENER: Final = 5.0
"""Seconds for one listener to end its sessions and release its socket."""
_STREAMS: Final = 15.0
"""Seconds for all subscribers to receive their close frame."""
_REQUESTS: Final = 5.0
"""Seconds beyond ``http.shutdown_timeout`` for the requests under way."""
_OUTPUTS: Final = 5.0
"""Seconds for what waits for outputs, and for their workers to end."""
_FLEET: Final = 30.0
"""Seconds to store unfinished uploads and to write all pending changes."""
_BUS: Final = 5.0
"""Seconds to send the last events to other nodes."""
_STORE: Final = 10.0
"""Seconds to close the database."""


class Streams(Protocol):
    """Streams of one kind."""

    async def close(self) -> None:
        """End all of them, and return when they are closed."""


@dataclass(slots=True)
class Started:
    """The parts that have started so far; on a failed start, only these have to stop."""

    supervisor: Supervisor
    is_stopping: bool = False
    folder_lock: IO[str] | None = None
    store: Store | None = None
    bus: LocalBus | None = None
    fleet: Fleet | None = None
    web: list[WebServer] = field(default_factory=list)
    shutdown_timeout: float = 0.0
    """Seconds that ``web`` gives to requests under way."""
    streams: list[Streams] = field(default_factory=list)
    outputs: Outputs | None = None
    listeners: list[Listener] = field(default_factory=list)


async def shut_down(started: Started) -> None:
    """
    Stop every part, in the order that loses least.

    A step that fails or overruns its deadline is logged, and the next one follows.

    1. Background tasks: sweeps, renewals and the demo end.
    2. Listeners, the last one first: no new datagrams and connections; sessions end with a close_notify.
    3. Streams: new ones get 503, open ones close with 1001.
    4. HTTP: requests under way are answered, new ones are refused.
    5. Outputs: messages that wait for a target that answers are sent, the others are lost.
    6. Fleet: unfinished uploads end, pending changes go to the registry.
    7. Bus: other nodes get the last events.
    8. Registry: the database closes.
    9. Data directory: the lock is released.

    Raises:
        BaseException: The first failure or cancellation of a step.
    """
    started.is_stopping = True
    failures: list[BaseException] = []

    async def step(name: str, seconds: float, stop: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(seconds):
                await stop()
        except BaseException as exc:  # a cancelled step, too, must not keep the registry from being closed
            log.exception("shutdown_step_failed", step=name, deadline=seconds)
            failures.append(exc)

    await step("tasks", _TASKS, started.supervisor.close)
    for listener in reversed(started.listeners):
        await step(listener.name, _LISTENER, listener.stop)
    for streams in started.streams:
        await step("streams", _STREAMS, streams.close)
    for port in started.web:
        await step(port.name, started.shutdown_timeout + _REQUESTS, port.stop)
    if started.outputs is not None:
        await step("outputs", _OUTPUTS, started.outputs.close)
    if started.fleet is not None:
        await step("fleet", _FLEET, started.fleet.close)
    if started.bus is not None:
        await step("bus", _BUS, started.bus.close)
    if started.store is not None:
        await step("registry", _STORE, started.store.close)
    if started.folder_lock is not None:
        started.folder_lock.close()
    if failures:
        raise failures[0]
