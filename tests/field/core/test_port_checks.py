"""Load balancers that check the port of gateways: one event at severity debug, then counts."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from span_events.events.activity import Severity, severity_of
from span_events.events.catalogue import GatewayRejected
from tests.bench.waiting import until
from tests.listeners.gateways.bench import RawGateway
from tests.listeners.gateways.fleet import FleetGateways, fleet_gateways
from tests.wire.grpc.client import GrpcClient
from tests.wire.tls.client import TlsClient

HAPROXY: Final = (
    bytes.fromhex("16030000790100007503000000000f")
    + b"HAPROXYSSLCHK\nHAPROXYSSLCHK\n"
    + bytes.fromhex("00004e" + "0039" * 39 + "0100")
)
"""The ClientHello of ``option ssl-hello-chk`` (SSL 3.0)."""
DAY: Final = 86_400.0
Check = Callable[[FleetGateways], Awaitable[None]]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[FleetGateways]:
    """A listener over a real fleet."""
    async with fleet_gateways(tmp_path) as bench:
        yield bench


def address_of(bench: FleetGateways) -> tuple[str, int]:
    """Return the address of the listener."""
    host, _, port = bench.listener.address.rpartition(":")
    return host, int(port)


async def closes(bench: FleetGateways) -> None:
    """Open and close TCP, as NGINX and most load balancers do."""
    _, writer = await asyncio.open_connection(*address_of(bench))
    writer.close()
    await writer.wait_closed()


async def resets(bench: FleetGateways) -> None:
    """Open and reset TCP, as HAProxy does."""
    with socket.create_connection(address_of(bench)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def says_hello(bench: FleetGateways) -> None:
    """Send a hello of SSL 3.0 and read the alert (HAProxy's ssl-hello-chk)."""
    reader, writer = await asyncio.open_connection(*address_of(bench))
    writer.write(HAPROXY)
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def shakes_hands(bench: FleetGateways) -> None:
    """Complete TLS without a certificate and ALPN, and close it (HAProxy's check-ssl)."""
    client = await RawGateway(address_of(bench), TlsClient(protocols=()), GrpcClient(), receive_buffer=0).connect()
    await client.leave()


async def asks_for_health(bench: FleetGateways) -> None:
    """Call the health service of gRPC (NGINX's health_check type=grpc)."""
    client = RawGateway(address_of(bench), TlsClient(), GrpcClient(), receive_buffer=0)
    await client.open("/grpc.health.v1.Health/Check", end=True)
    await client.refused()
    await client.leave()


@pytest.mark.parametrize("check", [closes, resets, says_hello, shakes_hands, asks_for_health])
async def test_core_11_checks_of_the_port_are_told_once_a_day_and_counted(bench: FleetGateways, check: Check) -> None:
    rejected = bench.fleet.gateway_sessions.rejections_by_reason
    for count in range(1, 6):
        await check(bench)
        await until(lambda expected=count: rejected.get("portCheck", 0) == expected)  # type: ignore[misc]  # a default
    await bench.fleet.clock.advance(120.0)  # no summary follows
    (event,) = bench.fleet.events
    bench.fleet.activities.clear()
    bench.fleet.clock.shift(DAY)
    await check(bench)
    await until(lambda: rejected["portCheck"] == 6)

    assert isinstance(event, GatewayRejected)
    assert severity_of(event) is Severity.DEBUG
    assert rejected == {"portCheck": 6}
    assert bench.fleet.names == ["gatewayRejected"]


async def test_core_11_checks_of_tcp_do_not_use_up_the_failures_of_an_address(tmp_path: Path) -> None:
    """Gateways behind the same address still connect."""
    async with fleet_gateways(tmp_path, failures_per_minute=5) as bench:
        for _ in range(20):
            await closes(bench)
        await bench.raw().serve()

        assert "gatewayConnected" in bench.fleet.names
