"""The bus of a single process: function calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TypeVar

from span_events.bus.base import ActivitySink, Handler, MessageSink, NoAnswer, NobodyServes, Topic
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
        self._activities_of_others: list[ActivitySink] = []
        self._messages_of_others: list[MessageSink] = []
        self.on_gap: list[Callable[[AbstractSet[Topic]], None]] = []
        """Called with the topics of which subscribers here may have missed events of other nodes."""
        self._handlers: dict[str, Handler] = {}
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

    # ---- events and messages ------------------------------------------------------------------

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

    def listen(
        self,
        *,
        activities: ActivitySink | None = None,
        messages: MessageSink | None = None,
        everywhere: bool = False,
    ) -> None:
        """Call a sink for each activity or message from now on."""
        if activities is not None:
            self._activities.append(activities)
            if everywhere:
                self._activities_of_others.append(activities)
        if messages is not None:
            self._messages.append(messages)
            if everywhere:
                self._messages_of_others.append(messages)

    def show(self, activity: Activity) -> None:
        """Pass an activity of another node to the sinks that listen everywhere."""
        self._tell(self._activities_of_others, activity)

    def show_message(self, message: Message) -> None:
        """Pass an upstream message of another node to the sinks that listen everywhere."""
        self._tell(self._messages_of_others, message)

    def _tell(self, sinks: list[Callable[[T], None]], item: T) -> None:
        for sink in sinks:
            try:
                sink(item)
            except Exception:  # a publisher must never suffer from a listener
                self.failures += 1
                log.exception("sink_failed", item=type(item).__name__)

    # ---- other nodes: there are none ----------------------------------------------------------

    def health(self) -> str:
        """Return ``ok``, or a sentence about the fault."""
        return "ok"

    async def start(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def run(self) -> None:
        """Wait for ever: nothing can fail."""
        await asyncio.Event().wait()

    def sweep(self, now: float) -> None:
        """Do nothing: nothing is kept."""

    async def close(self) -> None:
        """Do nothing: nothing waits."""

    def follow(self, topics: Iterable[Topic]) -> None:
        """Note a subscriber: every event is here already."""

    def unfollow(self, topics: Iterable[Topic]) -> None:
        """Note that a subscriber left: nothing is kept for it."""

    async def caught_up(self, topics: Iterable[Topic]) -> None:
        """Return at once."""

    # ---- requests -----------------------------------------------------------------------------

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        """Answer the requests to a subject until the returned function is called."""
        self._handlers[subject] = handler
        return partial(self._serve_no_longer, subject, handler)

    async def ask(self, subject: str, data: bytes, within: float) -> bytes:
        """Send a request to the handler of a subject, and return its answer."""
        handler = self._handlers.get(subject)
        if handler is None:
            raise NobodyServes(f"nobody serves {subject}")
        try:
            async with asyncio.timeout(within):
                return await handler(data)
        except TimeoutError:
            raise NoAnswer(f"no answer from {subject} within {within:g} s") from None

    def _serve_no_longer(self, subject: str, handler: Handler) -> None:
        if self._handlers.get(subject) is handler:
            del self._handlers[subject]
