"""Outputs: keeps a worker for each enabled output, and passes each message and event to those of its collection."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from span_events.clock import Clock
from span_events.config import OutputsConfig
from span_events.events.activity import Activity
from span_events.events.message import Message
from span_events.fleet.fleet import Fleet
from span_events.outputs.base import Item
from span_events.outputs.content import Content, MessageEncoder
from span_events.outputs.senders import sender_of
from span_events.outputs.targets import Targets
from span_events.outputs.worker import Worker
from span_events.registry.outputs import Output

_FLUSH: Final = 2.0
"""Seconds at the end for what waits for targets that answer."""


@dataclass(slots=True)
class _Running:
    worker: Worker
    task: asyncio.Task[None]


class Outputs:
    """
    The workers of all outputs.

    Construct it inside the running event loop.
    """

    def __init__(self, config: OutputsConfig, fleet: Fleet, encode_message: MessageEncoder, clock: Clock) -> None:
        self._config = config
        self._health = fleet.outputs_health
        self._facts = fleet.facts
        self._encode_message = encode_message
        self._clock = clock
        self._targets = Targets(allow_private=config.allow_private)
        self._host = socket.gethostname()
        self._running: dict[int, _Running] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._messages: dict[int, list[Worker]] = {}
        self._activities: dict[int, list[Worker]] = {}
        for collection_id in fleet.directory.collections:
            for output in fleet.directory.outputs.of(collection_id):
                self.start(output)
        fleet.outputs.on_changed.append(self.start)
        fleet.outputs.on_removed.append(self.stop)

    # ---- called for each event ----------------------------------------------------------------

    def show(self, activity: Activity) -> None:
        """Queue an activity for the outputs of its collection."""
        workers = self._activities.get(activity.event.origin.collection_id or 0)
        if workers:
            for each in workers:
                each.offer(activity)

    def show_message(self, message: Message) -> None:
        """Queue an upstream message for the outputs of its collection."""
        workers = self._messages.get(message.origin.collection_id or 0)
        if workers:
            for each in workers:
                each.offer(message)

    # ---- life ---------------------------------------------------------------------------------

    def start(self, output: Output) -> None:
        """Start the worker of an output; a changed output's worker takes over what waits for the old one."""
        before = self._end(output)
        if not output.enabled:
            return
        waiting: deque[Item] | None = None
        if before is not None and _kind_of(before.output) == _kind_of(output):
            waiting = before.queue
        content = Content(output.config, self._encode_message, self._host, self._facts)
        worker = Worker(
            output,
            sender_of(output, self._config, content, self._targets, self._clock),
            self._config,
            health=self._health,
            clock=self._clock,
            accepts=content.accepts,
            queue=waiting,
        )
        task = asyncio.get_running_loop().create_task(worker.run(), name=f"output-{output.id}")
        self._running[output.id] = _Running(worker, task)
        self._table_of(output).setdefault(output.collection_id, []).append(worker)

    def stop(self, output: Output) -> None:
        """End the worker of a removed output."""
        self._end(output)
        self._health.forget(output)

    async def close(self) -> None:
        """Give what waits for targets that answer a moment, then end all workers."""
        healthy = [each.worker for each in self._running.values() if not self._is_failing(each.worker.output)]
        with suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH):
                await asyncio.gather(*(each.flush() for each in healthy))
        for running in list(self._running.values()):
            self._end(running.worker.output)
        await asyncio.gather(*self._ending, return_exceptions=True)
        self._targets.close()

    def _is_failing(self, output: Output) -> bool:
        return self._health.of(output).failing_since is not None

    def _end(self, output: Output) -> Worker | None:
        running = self._running.pop(output.id, None)
        if running is None:
            return None
        worker = running.worker
        table = self._table_of(worker.output)
        table[output.collection_id].remove(worker)
        if not table[output.collection_id]:
            del table[output.collection_id]
        running.task.cancel()
        self._ending.add(running.task)
        running.task.add_done_callback(self._ending.discard)
        return worker

    def _table_of(self, output: Output) -> dict[int, list[Worker]]:
        return self._activities if output.config.content == "activity" else self._messages


def _kind_of(output: Output) -> tuple[str, str]:
    """Return what decides which items an output accepts."""
    return output.config.content, output.config.format
