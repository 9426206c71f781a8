"""A hub whose subscribers write into memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from span_events.config import FanoutConfig
from span_events.dialects.span import PLAIN, SpanDialect
from span_events.events.activity import Activity, Event
from span_events.events.catalogue import DeviceCreated, DeviceRemoved, DeviceUpdated
from span_events.events.filters import EVERYTHING, PASS_ALL, Filter, Scope
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Encoding, Ending, Scopes, Stream, Subscriber, encoding
from span_events.ids import IdGenerator
from tests.bench.clock import ManualClock

CREATED, UPDATED, REMOVED = DeviceCreated, DeviceUpdated, DeviceRemoved
LINES = encoding(PLAIN, bytes, tells_gaps=True)
EXTENDED = encoding(SpanDialect(extended=True), bytes, tells_gaps=True, keepalive=b"quiet\n", silence=15.0)


class Pipe(asyncio.WriteTransport):
    """A transport that records each write; a stalled one also buffers it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.stalled = False
        self.waiting = 0

    def write(self, data: Any) -> None:
        """Take octets."""
        self.writes.append(bytes(data))
        if self.stalled:
            self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        """Return the buffered octets."""
        return self.waiting

    def read_on(self) -> None:
        """The reader has caught up."""
        self.stalled, self.waiting = False, 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """All written events, parsed."""
        return [json.loads(line) for line in b"".join(self.writes).splitlines()]

    @property
    def names(self) -> list[str]:
        """The names of the events."""
        return [each["event"] for each in self.events]


class Bench:
    """A hub with a clock that is moved by hand, and subscribers on pipes."""

    def __init__(self, **settings: Any) -> None:
        self.clock = ManualClock()
        self.identifiers = IdGenerator()
        self.hub = Hub(FanoutConfig(**settings), self.clock, self.identifiers)
        self.closed: list[tuple[Ending, str]] = []

    def join(
        self,
        scope: Scope | Scopes = EVERYTHING,
        wish: Filter = PASS_ALL,
        how: Encoding = LINES,
        *,
        stream: Stream = Stream.ACTIVITIES,
        replay: Callable[[], Iterable[bytes]] | None = None,
        pipe: Pipe | None = None,
        token_id: int = 1,
    ) -> tuple[Pipe, Subscriber]:
        """Add a subscriber."""
        pipe = pipe or Pipe()
        subscriber = self.hub.subscribe(
            stream,
            scope if isinstance(scope, tuple) else (scope,),
            wish,
            how,
            sink=pipe,
            token_id=token_id,
            close=lambda ending, text: self.closed.append((ending, text)),
            replay=replay,
        )
        return pipe, subscriber

    def show(self, *events: Event) -> None:
        """Publish events in this tick."""
        for event in events:
            self.hub.show(Activity(self.identifiers.next(self.clock.time_ns()), self.clock.time_ns(), event))
