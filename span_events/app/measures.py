"""Metrics of the process as a whole: release, health, event loop, data directory, registry, UDP listeners."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from span_events import __version__
from span_events.listeners.base import Listener, UdpListener
from span_events.metrics import Histogram, HistogramMetric, Measure, Metric, TableMetric
from span_events.registry.registry import Registry

_LAG_LOOK: Final = 0.25
"""Seconds between measurements of the event loop's lag."""


class LoopLag:
    """Measures how late the event loop runs what is due: the wait of every client for the work of others."""

    def __init__(self) -> None:
        self._lag = Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

    async def run(self) -> None:
        """Measure until cancelled."""
        time = asyncio.get_running_loop().time
        while True:
            due = time() + _LAG_LOOK
            await asyncio.sleep(_LAG_LOOK)
            self._lag.observe(max(0.0, time() - due))

    def metrics(self) -> Iterator[Measure]:
        """List the metrics."""
        yield HistogramMetric(
            "event_loop_lag_seconds",
            "Delay of a timer of the event loop, 4 times a second.",
            lambda: self._lag,
        )


def measures(
    *,
    data_dir: Path,
    registry: Registry,
    health: Callable[[], Mapping[str, str]],
    listeners: Iterable[Listener],
) -> list[Measure]:
    """
    List the metrics of the process.

    Args:
        health: Health of each part: ``ok``, or a sentence that names the failure.
    """
    directory = registry.directory
    datagrams = [each for each in listeners if isinstance(each, UdpListener)]
    return [
        Metric("build_info", "This release; always 1.", "gauge", lambda: {__version__: 1.0}, label="version"),
        Metric(
            "part_healthy",
            "1 if a part works, 0 if it fails; /readyz has the reason.",
            "gauge",
            lambda: {part: float(text == "ok") for part, text in health().items()},
            label="part",
        ),
        Metric(
            "registered",
            "Entries of the registry.",
            "gauge",
            lambda: {
                "collection": len(directory.collections),
                "device": len(directory.devices),
                "gateway": len(directory.gateways),
                "output": len(directory.outputs),
            },
            label="kind",
        ),
        Metric(
            "registry_current",
            "1 while this node sees the changes of other nodes; a single node has none to see.",
            "gauge",
            lambda: registry.is_current,
        ),
        Metric(
            "leader",
            "1 on the node that runs the timers which only one node may run; a single node always does.",
            "gauge",
            lambda: registry.leads,
        ),
        TableMetric(
            "data_directory_free_bytes",
            "Bytes that this process may still write to the file system of the data directory; none if unknown.",
            "gauge",
            (),
            lambda: _file_system(data_dir, free=True),
        ),
        TableMetric(
            "data_directory_size_bytes",
            "Size of the file system of the data directory; none if unknown.",
            "gauge",
            (),
            lambda: _file_system(data_dir, free=False),
        ),
        Metric(
            "datagrams_received",
            "Datagrams read from UDP sockets.",
            "counter",
            lambda: {each.name: each.received for each in datagrams},
            label="listener",
        ),
        Metric(
            "datagrams_overflowed",
            "Datagrams that the kernel dropped, because the receive buffer of the socket was full.",
            "counter",
            lambda: {each.name: each.overflowed for each in datagrams},
            label="listener",
        ),
        Metric(
            "datagrams_received_bytes",
            "Bytes of these datagrams.",
            "counter",
            lambda: {each.name: each.octets for each in datagrams},
            label="listener",
        ),
    ]


def _file_system(folder: Path, *, free: bool) -> Mapping[tuple[str, ...], float]:
    try:
        found = os.statvfs(folder)
    except OSError:  # then the registry fails, too; a number would be a guess
        return {}
    return {(): float(found.f_frsize * (found.f_bavail if free else found.f_blocks))}
