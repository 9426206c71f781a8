"""Metrics as Prometheus reads them."""

from __future__ import annotations

from span_events.metrics import Histogram, HistogramMetric, Measure, Metric, TableMetric, exposition


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


def test_several_labels_and_histograms_become_prometheus_text() -> None:
    """A bucket counts all values up to its bound; no value is lost beyond the last bound."""
    delay = Histogram(0.1, 1.0)
    for seconds in (0.05, 0.1, 0.5, 3.0):
        delay.observe(seconds)
    table: list[Measure] = [
        TableMetric("rejected", "Messages.", "counter", ("transport", "reason"), lambda: {("udp", "malformed"): 2}),
        TableMetric("free_bytes", "Nothing is known.", "gauge", (), dict),
        HistogramMetric("delay_seconds", "Delay.", lambda: {"coap": delay}, label="transport"),
    ]
    lines = exposition(lambda: table)().decode().splitlines()

    assert 'span_events_rejected_total{reason="malformed",transport="udp"} 2.0' in lines
    assert not [each for each in lines if each.startswith("span_events_free_bytes")]
    assert [each.partition("_delay_")[2] for each in lines if each.startswith("span_events_delay")] == [
        'seconds_bucket{le="0.1",transport="coap"} 2.0',
        'seconds_bucket{le="1.0",transport="coap"} 3.0',
        'seconds_bucket{le="+Inf",transport="coap"} 4.0',
        'seconds_count{transport="coap"} 4.0',
        'seconds_sum{transport="coap"} 3.65',
    ]
