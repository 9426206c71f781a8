"""The bus of a single process: function calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from span_events.bus.base import ActivitySink, MessageSink
from span_events.bus.counts import EventCounts
from span_events.clock import Clock
from span_events.events.activity import Activity, Event
from span_events.events.message import Message
from span_events.ids import IdGenerator
from span_events.log import get_logger
from span_events.metrics import Measure, Metric, TableMetric

log = get_logger("bus")
T = TypeVar("T")


class LocalBus:
    """Carries events and messages inside this process."""

    def __init__(self, clock: Clock, identifiers: IdGenerator) -> None:
        self._clock = clock
        self._identifiers = identifiers
        self._activities: list[ActivitySink] = []
        self._messages: list[MessageSink] = []
        self.counts = EventCounts()
        """Published events."""
        self._plain = self.counts.plain
        self.failures = 0
        """Number of exceptions that sinks raised; each is a defect of ours and is logged."""

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        return [
            TableMetric(
                "events_published",
                "Events published, by name and reason.",
                "counter",
                ("event", "reason"),
                self.counts.by_labels,
            ),
            Metric("sink_failures", "Defects: a consumer of events failed.", "counter", lambda: self.failures),
        ]

    def new_id(self, time_ns: int | None = None) -> int:
        """Return an identifier that rises with time."""
        return self._identifiers.next(self._clock.time_ns() if time_ns is None else time_ns)

    def publish(self, event: Event, *, time_ns: int | None = None) -> None:
        """Give the event an identifier and a time, and pass the activity to all sinks."""
        now_ns = self._clock.time_ns()
        kind = type(event)
        if kind in self._plain:
            self._plain[kind] += 1
        else:
            self.counts.add(event)
        self._tell(
            self._activities,
            Activity(self._identifiers.next(now_ns), now_ns if time_ns is None else min(now_ns, time_ns), event),
        )

    def forward(self, message: Message) -> None:
        """Pass an upstream message to all sinks."""
        self._tell(self._messages, message)

    def listen(self, *, activities: ActivitySink | None = None, messages: MessageSink | None = None) -> None:
        """Call a sink for each activity or message from now on."""
        if activities is not None:
            self._activities.append(activities)
        if messages is not None:
            self._messages.append(messages)

    def _tell(self, sinks: list[Callable[[T], None]], item: T) -> None:
        for sink in sinks:
            try:
                sink(item)
            except Exception:  # a publisher must never suffer from a listener
                self.failures += 1
                log.exception("sink_failed", item=type(item).__name__)
