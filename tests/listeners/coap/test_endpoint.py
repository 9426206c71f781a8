"""The endpoint without a socket: replies that the network refuses, and DTLS sessions."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from span_events.config import CoapConfig, MessagesConfig
from span_events.events.message import Transport
from span_events.listeners.coap.endpoint import CoapEndpoint
from span_events.registry.model import Device
from span_events.wire.coap.messages import Code, Type, decode
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.listeners.coap.bench import get, post

REMOTE = ("192.0.2.1", 40000)


class Network:
    """A network that keeps or refuses datagrams."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, object]] = []
        self.refusal: OSError | None = None

    def send(self, datagram: bytes, address: object) -> None:
        """Send a datagram."""
        if self.refusal is not None:
            raise self.refusal
        self.sent.append((datagram, address))


@asynccontextmanager
async def endpoint_bench(
    folder: Path, **options: Any
) -> AsyncIterator[tuple[FleetBench, Device, Network, CoapEndpoint]]:
    """Create an endpoint on a `Network`, with one device at `REMOTE`."""
    async with fleet_bench(folder) as fleet:
        device = await fleet.device(REMOTE[0])
        network = Network()
        endpoint = CoapEndpoint(
            CoapConfig(),
            transport=options.get("transport", Transport.COAP),
            local_port=5683,
            max_payload=MessagesConfig().max_payload,
            reception=fleet.reception,
            outbox=fleet.outbox,
            clock=fleet.clock,
            send=network.send,
        )
        yield fleet, device, network, endpoint
        await endpoint.shutdown()


async def test_a_downstream_message_stays_queued_after_a_full_buffer(tmp_path: Path) -> None:
    """The reply to a NON is lost, but not the message in it."""
    async with endpoint_bench(tmp_path) as (fleet, device, network, endpoint):
        await fleet.outbox.queue(device, b"lamp on", cause=CAUSE)
        network.refusal = BlockingIOError()
        endpoint.receive(post(b"one", kind=Type.NON, message_id=1), REMOTE)
        network.refusal = None
        endpoint.receive(post(b"two", kind=Type.NON, message_id=2), REMOTE)

        ((reply, _),) = network.sent
        assert decode(reply).payload == b"lamp on"
        assert fleet.names.count("downstreamMessage") == 1
        assert (endpoint.received, endpoint.replied, endpoint.unsent) == (2, 1, 1)


async def test_a_downstream_message_that_the_network_refuses_has_failed(tmp_path: Path) -> None:
    """The event has the text of the system's error."""
    async with endpoint_bench(tmp_path) as (fleet, device, network, endpoint):
        await fleet.outbox.queue(device, b"lamp on", cause=CAUSE)
        network.refusal = OSError(errno.ENETUNREACH, "Network is unreachable")
        endpoint.receive(get(kind=Type.NON), REMOTE)

        name, data = fleet.published[-1]
        assert name == "downstreamFailed"
        assert (data["reason"], data["detail"]) == ("sendError", "Network is unreachable")


async def test_a_refused_reply_to_a_con_is_sent_after_its_retransmission(tmp_path: Path) -> None:
    """The reply still has the downstream message."""
    async with endpoint_bench(tmp_path) as (fleet, device, network, endpoint):
        await fleet.outbox.queue(device, b"lamp on", cause=CAUSE)
        network.refusal = OSError(errno.ENETUNREACH, "Network is unreachable")
        endpoint.receive(post(b"hello"), REMOTE)
        network.refusal = None
        endpoint.receive(post(b"hello"), REMOTE)

        ((reply, _),) = network.sent
        assert (decode(reply).code, decode(reply).payload) == (Code.CREATED, b"lamp on")
        assert len(fleet.messages) == 1


@pytest.mark.parametrize("datagram", [post(b"x", message_id=9), b"\x40\x00\x00\x01", b"\x40\x02\x00\x01\xff"])
async def test_a_rejection_that_the_network_refuses_is_counted(tmp_path: Path, datagram: bytes) -> None:
    """No exception reaches the event loop."""
    async with endpoint_bench(tmp_path) as (_, device, network, endpoint):
        device.enabled = datagram[1] == 0 or datagram[-1] == 0xFF
        network.refusal = ConnectionRefusedError()
        endpoint.receive(datagram, REMOTE)

        assert (endpoint.replied, endpoint.unsent) == (0, 1)


async def test_sessions_from_one_address_are_separate_peers(tmp_path: Path) -> None:
    """For the DTLS listener, the session is the address of the peer."""
    async with endpoint_bench(tmp_path, transport=Transport.COAPS) as (fleet, device, network, endpoint):
        sessions = [object(), object()]
        for session in sessions:
            endpoint.receive_from(device, post(b"hello"), REMOTE, address=session)

        assert [address for _, address in network.sent] == sessions
        assert [message.transport for message in fleet.messages] == [Transport.COAPS] * 2
        assert endpoint.duplicates == 0
