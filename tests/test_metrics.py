"""Metrics as Prometheus reads them."""

from __future__ import annotations

from span_events.metrics import Metric, exposition


def test_a_table_of_metrics_becomes_prometheus_text() -> None:
    """Counters get their suffix, labels their values, and values are read when asked for."""
    counts = {"udp": 1.0}
    table = [
        Metric("subscribers", "Subscribers now.", "gauge", lambda: 3),
        Metric("messages", "Messages accepted.", "counter", lambda: counts, label="transport"),
    ]
    write = exposition(lambda: table)
    counts["coap"] = 2
    text = write().decode()

    assert "# HELP span_events_subscribers Subscribers now.\n# TYPE span_events_subscribers gauge\n" in text
    assert "span_events_subscribers 3.0\n" in text
    assert 'span_events_messages_total{transport="udp"} 1.0\n' in text
    assert 'span_events_messages_total{transport="coap"} 2.0\n' in text


def test_the_process_is_measured_too() -> None:
    """Memory and CPU time come with every exposition."""
    text = exposition(list)().decode()

    assert "process_resident_memory_bytes" in text
    assert "process_cpu_seconds_total" in text
