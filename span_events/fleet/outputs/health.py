"""
Health of outputs: counters, error log and state of each, in memory; publishes `outputFailed` and `outputRecovered`.

The workers in ``outputs/`` report each delivery here, so that the API can show it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import OutputsConfig
from span_events.events.activity import Origin, SpanId
from span_events.events.catalogue import OutputFailed, OutputRecovered
from span_events.events.reasons import OutputReason
from span_events.fleet.summaries import Summaries
from span_events.metrics import Metric
from span_events.registry.outputs import Output

_BURST: Final = 3
"""Events of an output and a reason, one by one, within a window."""
_WINDOW: Final = 60.0
"""Seconds."""
_OUTPUTS: Final = 10_000
"""Upper bound of outputs whose events are counted at a time."""
_RECOVERED: Final = "recovered"


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery that failed."""

    reason: OutputReason
    detail: str = ""
    status: int | None = None
    answer: str = ""
    """Begin of the target's answer, at most 1 KiB."""

    def __str__(self) -> str:
        status = f" {self.status}" if self.status is not None else ""
        rest = "; ".join(filter(None, (self.detail, self.answer)))
        return f"{self.reason.value}{status}: {rest}" if rest else f"{self.reason.value}{status}"


@dataclass(slots=True)
class LogEntry:
    """An entry of an output's error log; equal ones in a row are one entry."""

    time_ms: int
    """Time of the last occurrence, Unix milliseconds."""
    message: str
    repeated: int = 0
    """Further occurrences."""


@dataclass(slots=True)
class OutputHealth:
    """Counters since the start, and the present state."""

    log: deque[LogEntry]
    received: int = 0
    """Messages or events that the output had to forward."""
    forwarded: int = 0
    bytes_forwarded: int = 0
    """Octets sent for them."""
    errors: int = 0
    """Deliveries that failed."""
    retransmits: int = 0
    """Deliveries tried again."""
    dropped: int = 0
    """Messages or events given up."""
    waiting: int = 0
    failing_since: float | None = None
    """Monotonic seconds; None while it delivers."""
    dropped_before: int = field(default=0)
    """`dropped` when it began to fail."""


class OutputsHealth:
    """The health of every output."""

    def __init__(self, config: OutputsConfig, *, bus: Bus, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._by_id: dict[int, OutputHealth] = {}
        self._summaries = Summaries(bus=bus, clock=clock, burst=_BURST, window=_WINDOW, senders=_OUTPUTS)
        self.sweep = self._summaries.sweep

    def of(self, output: Output) -> OutputHealth:
        """Return the health of an output, which is new at first."""
        found = self._by_id.get(output.id)
        if found is None:
            found = self._by_id[output.id] = OutputHealth(deque(maxlen=self._config.log))
        return found

    def forget(self, output: Output) -> None:
        """Remove a deleted output."""
        self._by_id.pop(output.id, None)

    def delivered(self, output: Output, target: str, *, items: int, octets: int) -> None:
        """Count a delivery; after failures, publish `outputRecovered`."""
        health = self.of(output)
        health.forwarded += items
        health.bytes_forwarded += octets
        if health.failing_since is None:
            return
        seconds = self._clock.monotonic() - health.failing_since
        health.failing_since = None
        event = OutputRecovered(
            origin=Origin(output.collection_id),
            output_id=SpanId(output.id),
            type=output.type.value,
            target=target,
            seconds=round(seconds),
            dropped=health.dropped - health.dropped_before or None,
        )
        self._summaries.publish(event, output.id, _RECOVERED)

    def failed(self, output: Output, target: str, failure: Failure) -> None:
        """Note a failed delivery; after deliveries that succeeded, publish `outputFailed`."""
        health = self.of(output)
        health.errors += 1
        self._note(health, str(failure))
        if health.failing_since is not None:
            return
        health.failing_since = self._clock.monotonic()
        health.dropped_before = health.dropped
        self._publish(output, target, failure, health)

    def dropped(self, output: Output, target: str, items: int) -> None:
        """Count messages for which the queue had no room; of an output that delivers, publish `outputFailed`."""
        health = self.of(output)
        health.dropped += items
        if health.failing_since is None and self._summaries.admits(output.id, OutputReason.QUEUE_FULL.value, burst=1):
            failure = Failure(OutputReason.QUEUE_FULL)
            self._note(health, str(failure))
            self._summaries.add(_event(output, target, failure, health), output.id, failure.reason.value)

    def metrics(self) -> list[Metric]:
        """List the metrics."""

        def total(name: str) -> float:
            return float(sum(getattr(each, name) for each in self._by_id.values()))

        return [
            Metric(
                "outputs_forwarded",
                "Messages and events that outputs delivered.",
                "counter",
                lambda: total("forwarded"),
            ),
            Metric("outputs_dropped", "Messages and events that outputs gave up.", "counter", lambda: total("dropped")),
            Metric("outputs_errors", "Deliveries of outputs that failed.", "counter", lambda: total("errors")),
            Metric(
                "outputs_waiting",
                "Messages and events that wait for outputs; for each at most outputs.queue.",
                "gauge",
                lambda: total("waiting"),
            ),
            Metric(
                "outputs_failing",
                "Outputs that do not deliver.",
                "gauge",
                lambda: sum(each.failing_since is not None for each in self._by_id.values()),
            ),
        ]

    def _publish(self, output: Output, target: str, failure: Failure, health: OutputHealth) -> None:
        self._summaries.publish(_event(output, target, failure, health), output.id, failure.reason.value)

    def _note(self, health: OutputHealth, message: str) -> None:
        now_ms = self._clock.time_ns() // 1_000_000
        last = health.log[-1] if health.log else None
        if last is not None and last.message == message:
            last.repeated += 1
            last.time_ms = now_ms
        else:
            health.log.append(LogEntry(now_ms, message))


def _event(output: Output, target: str, failure: Failure, health: OutputHealth) -> OutputFailed:
    return OutputFailed(
        origin=Origin(output.collection_id),
        reason=failure.reason,
        output_id=SpanId(output.id),
        type=output.type.value,
        target=target,
        status=failure.status,
        answer=failure.answer or None,
        detail=failure.detail or None,
        dropped=health.dropped or None,
    )
