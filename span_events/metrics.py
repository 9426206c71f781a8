"""
Metrics as a table: name, help, kind and a function that reads the value.

The parts keep plain counters, which are read only when ``/metrics`` is requested. Values hold no secrets and
no device ids, so the page needs no token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""Media type of Prometheus' text format."""
PREFIX: Final = "span_events_"
"""Every name begins with this."""

Family = CounterMetricFamily | GaugeMetricFamily


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; with a label, its value is a mapping from the label's values."""

    name: str
    """Without the prefix; without ``_total``, which counters get by themselves."""
    help: str
    kind: Literal["counter", "gauge"]
    value: Callable[[], float | Mapping[str, float]]
    label: str = ""

    def family(self) -> Family:
        """Read the value as a sample of Prometheus' client."""
        kind = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family: Family = kind(PREFIX + self.name, self.help, labels=[self.label] if self.label else [])
        value = self.value()
        for label, number in value.items() if isinstance(value, Mapping) else [("", value)]:
            family.add_metric([label] if self.label else [], number)
        return family


class _Table(Collector):
    def __init__(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Family]:
        return (each.family() for each in self._metrics())


def exposition(metrics: Callable[[], Iterable[Metric]]) -> Callable[[], bytes]:
    """
    Make the function that writes all metrics, and the process's own, in Prometheus' text format.

    Args:
        metrics: Called for each exposition.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Table(metrics))
    ProcessCollector(registry=registry)
    return lambda: generate_latest(registry)
