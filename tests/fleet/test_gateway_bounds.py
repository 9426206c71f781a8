"""What gateways may cost and cause: memory, events, and messages that cannot be called back."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest

from span_events.config import GatewaysConfig
from span_events.events.reasons import GatewayReason
from span_events.listeners.gateway_outgoing import OVERHEAD, Outgoing
from span_events.proto import gateway_pb2 as pb
from span_events.registry.model import Device, Gateway
from tests.fleets import FleetBench
from tests.links import SERIAL

LIMITS = GatewaysConfig()


class Unread:
    """A link with a real queue, from which nothing ever leaves."""

    def __init__(self) -> None:
        self.outgoing = Outgoing(messages=LIMITS.queue_messages, octets=LIMITS.queue_octets)

    @property
    def waiting(self) -> int:
        """Messages that have not left yet."""
        return len(self.outgoing)

    def send(
        self, message: pb.ControlStreamResponse, *, key: int | None = None, sent: Callable[[], None] | None = None
    ) -> bool:
        """Queue a message as the listener does."""
        return self.outgoing.put(message.SerializeToString(), key, sent, 0.1 * len(self.outgoing))

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """Do nothing."""


# ---- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [950, 100, 1])
async def test_a_queue_counts_what_it_costs(bench: FleetBench, size: int) -> None:
    """A gateway that does not read costs at most its queue's bound, whether its messages are long or short."""
    gateway = await bench.gateway()
    for number in range(1_000):
        device = Device(1_000_000 + number, gateway.collection)
        device.config.gateways[gateway.id] = {"devEui": "x" * size}
        bench.directory.add(device)
    unread(bench, gateway)  # what is made once, for all, is no cost of one
    gc.collect()
    tracemalloc.start()
    try:
        queue = unread(bench, gateway)
        gc.collect()
        cost, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(queue) > 500
    assert cost <= queue.octets <= LIMITS.queue_octets
    assert queue.octets - cost <= len(queue) * OVERHEAD  # nor is it counted for far more than it costs


def unread(bench: FleetBench, gateway: Gateway) -> Outgoing:
    """Let a gateway connect and ask for everything, but read nothing; return its queue."""
    link = Unread()
    session = bench.gateway_sessions.opened(
        gateway, remote=("10.0.0.1", 1), certificate_serial=SERIAL, link=link, tls_version="", user_agent=""
    )
    bench.gateway_sessions.received(session, pb.ControlStreamRequest(config=pb.ConfigRequest()))
    return link.outgoing
