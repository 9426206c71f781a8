"""Metrics of DTLS servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from span_events.events.message import Transport
from span_events.metrics import Histogram, HistogramMetric, Measure, Metric


class Server(Protocol):
    """The properties of a server that its metrics read."""

    @property
    def sessions(self) -> int:
        """Number of open sessions."""

    @property
    def half_open(self) -> int:
        """Number of handshakes under way."""

    @property
    def durations(self) -> Histogram:
        """Durations of the handshakes that led to a session."""


def metrics_of(servers: Mapping[Transport, Server]) -> list[Measure]:
    """Return the metrics of the servers of all ports; none without servers."""
    if not servers:
        return []

    def total(*names: str) -> dict[str, float]:
        return {name: sum(getattr(server, name) for server in servers.values()) for name in names}

    return [
        Metric(
            "dtls_sessions",
            "DTLS sessions; at most dtls.sessions each.",
            "gauge",
            lambda: {transport.value: server.sessions for transport, server in servers.items()},
            label="transport",
        ),
        Metric(
            "dtls_half_open",
            "Handshakes under way; at most dtls.half_open each.",
            "gauge",
            lambda: {transport.value: server.half_open for transport, server in servers.items()},
            label="transport",
        ),
        Metric(
            "dtls_handshakes",
            "Hellos without a cookie, assembled of fragments, with a cookie; sessions; hellos without an answer.",
            "counter",
            lambda: total("hellos", "assembled", "begun", "completed", "silenced"),
            label="step",
        ),
        HistogramMetric(
            "dtls_handshake_duration_seconds",
            "Time from a hello with a cookie to the session.",
            lambda: {transport.value: server.durations for transport, server in servers.items()},
            label="transport",
        ),
        Metric(
            "dtls_datagrams",
            "DTLS datagrams: received, of no session, not sent.",
            "counter",
            lambda: total("received", "stray", "unsent"),
            label="outcome",
        ),
    ]
