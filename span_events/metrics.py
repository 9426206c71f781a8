"""
Metrics as a table: name, help, kind and a function that reads the value.

The parts keep plain counters and histograms, which are read only when ``/metrics`` is requested. Values hold no secrets
and no device ids, so the page needs no token. Names follow Prometheus' advice: base units, which are seconds and bytes,
and the unit at the end.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of Prometheus' text format."""
PREFIX: Final = "span_events_"
"""Every name begins with this."""
HANDSHAKE_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds of handshakes: from a loopback's to those over NB-IoT, with retransmissions."""

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class Histogram:
    """
    Counts observed values by size.

    Args:
        bounds: Upper bounds of the buckets, in rising order; one more bucket has none.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, *bounds: float) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        """Sum of all observed values."""

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Number of observed values."""
        return sum(self._counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Return how many values are at most each bound, as Prometheus wants it."""
        names = [*map(floatToGoString, self._bounds), "+Inf"]
        return list(zip(names, accumulate(self._counts), strict=True))


class Measure(Protocol):
    """Anything that ``/metrics`` shows."""

    @property
    def name(self) -> str:
        """Without the prefix; without ``_total``, which counters get by themselves."""

    def family(self) -> Family:
        """Read the value as a sample of Prometheus' client."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; with a label, its value is a mapping from the label's values."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    value: Callable[[], float | Mapping[str, float]]
    label: str = ""

    def family(self) -> Family:
        """Read the value as a sample of Prometheus' client."""
        family = _NUMBERS[self.kind](PREFIX + self.name, self.help, labels=[self.label] if self.label else [])
        value = self.value()
        for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
            family.add_metric([label] if self.label else [], number)
        return family


@dataclass(frozen=True, slots=True)
class TableMetric:
    """A metric with any number of labels; its value is a mapping from the labels' values, one sample for each."""

    name: str
    help: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...]
    value: Callable[[], Mapping[tuple[str, ...], float]]

    def family(self) -> Family:
        """Read the values as samples of Prometheus' client."""
        family = _NUMBERS[self.kind](PREFIX + self.name, self.help, labels=self.labels)
        for labels, number in self.value().items():
            family.add_metric(labels, number)
        return family


@dataclass(frozen=True, slots=True)
class HistogramMetric:
    """A histogram; with a label, its value is a mapping from the label's values."""

    name: str
    help: str
    value: Callable[[], Histogram | Mapping[str, Histogram]]
    label: str = ""

    def family(self) -> Family:
        """Read the value as samples of Prometheus' client."""
        family = HistogramMetricFamily(PREFIX + self.name, self.help, labels=[self.label] if self.label else [])
        value = self.value()
        for label, each in value.items() if isinstance(value, Mapping) else [("", value)]:
            family.add_metric([label] if self.label else [], each.buckets(), each.total)
        return family


_NUMBERS: Final[Mapping[str, type[CounterMetricFamily | GaugeMetricFamily]]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
}


class _Table(Collector):
    def __init__(self, metrics: Callable[[], Iterable[Measure]]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        return (each.family() for each in self._metrics())


def exposition(metrics: Callable[[], Iterable[Measure]]) -> Callable[[], bytes]:
    """
    Make the function that writes all metrics, and the process's own, in Prometheus' text format.

    Args:
        metrics: Called for each exposition.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Table(metrics))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
