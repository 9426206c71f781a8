"""The listener for gateways: silent gateways, start, stop and metrics."""

from __future__ import annotations

import pytest

from span_events.events.reasons import GatewayReason
from span_events.metrics import Metric
from tests.bench.waiting import until
from tests.listeners.gateways.bench import (
    COLLECTION,
    KEEPALIVE,
    GatewayBench,
    gateway_bench,
)

# ---- silence ---------------------------------------------------------------------------------


async def test_a_gateway_that_answers_pings_stays(gateways: GatewayBench) -> None:
    """Such a gateway may send no message for hours."""
    client = await gateways.client().serve()
    session = await gateways.session()
    for expected in range(1, 4):
        await gateways.wait(6, lambda expected=expected: client.grpc.pings == expected)  # type: ignore[misc]  # a default
        await until(lambda: session.link._keepalive.pinged_at is None)

    assert gateways.listener.counters.pings == 3
    assert session.ended == []


async def test_a_frozen_gateway_is_detected_within_ten_seconds(gateways: GatewayBench) -> None:
    """Its kernel still acknowledges; the server closes the socket at once."""
    client = await gateways.client().serve()
    session = await gateways.session()
    client.freeze()
    noticed = await gateways.wait(10, lambda: bool(session.ended))

    assert 9 <= noticed <= 10
    assert gateways.sessions.published[-1] == "ended keepaliveTimeout 9"
    client.thaw()
    assert await client.gone()


async def test_any_input_counts_as_an_answer_to_a_ping(gateways: GatewayBench) -> None:
    """A gateway that sends gets no ping."""
    client = await gateways.client().serve()
    session = await gateways.session()
    for number in range(1, 8):
        await client.send(KEEPALIVE)
        await until(lambda number=number: len(session.received) == number)  # type: ignore[misc]  # a default
        await gateways.clock.advance(4)

    assert client.grpc.pings == 0
    assert session.ended == []


# ---- start and stop --------------------------------------------------------------------------


async def test_a_defect_while_a_connection_is_lost_keeps_no_trace_of_it(
    gateways: GatewayBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the listener would wait for the connection forever when it stops."""
    client = await gateways.client().serve()
    await gateways.session()
    gateways.sessions.fails = True
    monkeypatch.setattr(gateways.sessions, "ended", None)
    client.reset()
    await until(lambda: gateways.connections == 0)

    assert gateways.listener.defects == 1


async def test_the_listener_ends_all_streams_with_a_status_when_it_stops() -> None:
    """Stopping takes a moment, and releases the port."""
    async with gateway_bench() as gateways:
        clients = [await gateways.client(COLLECTION.leaf(serial=10_000 + each)).connect() for each in range(20)]
        for number, client in enumerate(clients):
            gateways.sessions.known[10_000 + number] = f"gateway {number}"
            await client.say(client.grpc.take() + client.grpc.open())
        await gateways.session(20)
        await gateways.listener.stop()

        assert [await each.refused() for each in clients] == [(14, "server shutting down, reconnect")] * 20
        assert [each.ended for each in gateways.sessions.sessions] == [[(GatewayReason.SHUTDOWN, "")]] * 20
        assert gateways.connections == 0
        with pytest.raises(ConnectionRefusedError):
            await gateways.client().dial()


async def test_stopping_has_a_deadline() -> None:
    """Handshakes are aborted, and a client that does not read is disconnected."""
    async with gateway_bench() as gateways:
        frozen = await gateways.client().serve()
        frozen.freeze()
        await gateways.client().dial()
        await until(lambda: gateways.connections == 2)
        await gateways.listener.stop()
        await gateways.listener.stop()

        assert gateways.connections == 0
        assert gateways.sessions.rejections == []


async def test_metrics_show_every_bound(gateways: GatewayBench) -> None:
    client = await gateways.client().serve()
    await client.send(KEEPALIVE)
    await until(lambda: len(client.grpc.messages) == 1)
    values = {each.name: each.value() for each in gateways.listener.metrics() if isinstance(each, Metric)}
    counters = gateways.listener.counters

    assert values == {
        "gateways_connections": {"tls": 0, "http2": 0, "open": 1, "closing": 0},
        "gateways_handshakes": {"accepted": 1, "secured": 1, "opened": 1, "rejected": 0},
        "gateways_messages": {"up": 1, "down": 1},
        "gateways_received_bytes": counters.octets,
        "gateways_queued_bytes": 0,
        "gateways_floods": 0,
        "gateways_pings": 0,
        "gateways_defects": 0,
    }
    assert counters.octets > 1000
    assert counters.durations.count == 1
