"""The simulated gateway against the server: TLS, HTTP/2 and gRPC over real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.simulator.gateways.control_stream import ControlStream, Credentials, NotConnected
from span_events.simulator.gateways.gateway import KEEPALIVE, SimulatedGateway
from span_events.simulator.sockets import Address
from tests.bench.certificates import Holder
from tests.bench.ports import free_port
from tests.bench.servers import CAUSE
from tests.bench.waiting import PATIENCE, until
from tests.simulator.gateways.server import gateway_server, ids_of
from tests.simulator.other_authority import OtherAuthority


async def test_it_asks_for_its_configuration_and_gets_everything(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        assert simulated.id == render(bench.gateway.id)
        assert simulated.config == {"band": "868"}
        assert set(simulated.devices) == ids_of(bench.devices)
        assert bench.gateway.is_online
        assert bench.names[:3] == ["gatewayConnected", "gatewayConfigUpdate", "gatewayDeviceUpdate"]


async def test_it_answers_each_configuration_with_its_counters(tmp_path: Path) -> None:
    """Like Span's example; both counters are in the registry."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        params = [each.config.gateways[bench.gateway.id] for each in bench.devices]

        assert params == [{"devEui": "01", "fCntUp": "0", "fCntDn": "0"}] * 2
        assert [each["direction"] for each in bench.published("gatewayDeviceUpdate")].count("fromGateway") == 2
        assert simulated.statistics.configured == 2


async def test_messages_of_devices_carry_radio_metadata(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected(rate=500) as simulated:
        await until(lambda: bench.names.count("upstreamMessage") >= 5)
        device = next(each for each in bench.devices if each.gateway.params)

        assert simulated.statistics.sent >= 5
        assert set(device.gateway.params) == {"rssi", "snr", "fCntUp"}
        assert -120 <= int(device.gateway.params["rssi"]) <= -60
        assert bench.published("upstreamMessage")[0]["transport"] == "gateway"
        assert bench.names.count("gatewayUpstreamMessage") >= 5
    assert simulated.statistics.lost == 0


async def test_changes_by_the_api_arrive_while_connected(tmp_path: Path) -> None:
    """New, changed and removed devices, and the gateway's own configuration."""
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        added = await bench.device()
        await until(lambda: render(added.id) in simulated.devices)
        first, second = bench.devices
        change = DeviceChange(gateways={bench.gateway.id: {"devEui": "02", "fCntUp": "7"}})
        await bench.server.fleet.devices.update(first, change, cause=CAUSE)
        await bench.server.fleet.devices.remove(second, cause=CAUSE)
        await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(params={"band": "915"}), cause=CAUSE)
        await until(lambda: simulated.config == {"band": "915"})

        assert set(simulated.devices) == ids_of([first, added])
        assert simulated.devices[render(first.id)].config["devEui"] == "02"
        assert simulated.statistics.removed == 1
        # The gateway has counted itself: what it is told does not turn that back.
        await until(lambda: first.config.gateways[bench.gateway.id].get("fCntUp") == "0")


async def test_downstream_messages_are_logged_and_counted(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected() as simulated:
        device = bench.devices[0]
        await bench.server.fleet.outbox.queue(device, b"open the valve", cause=CAUSE)
        await until(lambda: simulated.statistics.downstream == 1)

        assert ("downstream", f"14 octets for device {render(device.id)}") in bench.notes
        assert simulated.statistics.downstream_octets == 14
        assert simulated.devices[render(device.id)].counters == {"fCntUp": "0", "fCntDn": "1"}
        await until(lambda: "gatewayDownstreamMessage" in bench.names)


async def test_a_silent_gateway_sends_keepalives(tmp_path: Path) -> None:
    """Span's example does so after 60 s; pings of HTTP/2 do not count as messages."""
    assert KEEPALIVE == 60
    async with gateway_server(tmp_path) as bench, bench.connected(keepalive=0.02) as simulated:
        await until(lambda: simulated.statistics.keepalives >= 3)

        assert "gatewayCommError" not in bench.names
        assert simulated.statistics.connected == 1


async def test_a_gateway_that_sends_needs_no_keepalives(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected(keepalive=5, rate=500) as simulated:
        await until(lambda: simulated.statistics.sent >= 20)

        assert simulated.statistics.keepalives == 0


async def test_it_leaves_in_order_when_it_is_cancelled(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench:
        async with bench.connected():
            pass

        assert bench.names[-1] == "gatewayDisconnected"
        assert bench.published("gatewayDisconnected")[0]["reason"] == "closed"
        assert not bench.gateway.is_online


async def test_it_reconnects_after_the_end_of_a_stream_and_continues_its_counters(tmp_path: Path) -> None:
    """Unlike Span's example, which ends with its stream, a simulation continues."""
    async with gateway_server(tmp_path) as bench, bench.connected(rate=500) as simulated:
        await until(lambda: simulated.statistics.sent >= 10)
        bench.server.fleet.gateway_sessions.end_session(bench.gateway, GatewayReason.SHUTDOWN)
        await bench.back(simulated)

        assert simulated.statistics.ended == {"UNAVAILABLE": 1}
        assert ("ended", "UNAVAILABLE: server shutting down, reconnect") in bench.notes
        assert sum(each.up for each in simulated.devices.values()) >= 10


async def test_an_unreachable_server_ends_it_at_once(tmp_path: Path) -> None:
    """The user of a simulation needs the error."""
    async with gateway_server(tmp_path) as bench:
        credentials = bench.credentials
    simulated = SimulatedGateway(credentials, ("127.0.0.1", free_port()), rate=1)
    with pytest.raises(NotConnected, match=r"127\.0\.0\.1:\d+: Connection refused") as caught:
        await simulated.run()

    assert caught.value.end is None
    assert "gateways.enabled" in caught.value.hint


async def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    """A gateway trusts its own cert.crt only."""
    stranger = Holder.root().intermediate().leaf("gateway")
    credentials = Credentials(stranger.chain_pem, stranger.key_pem)
    async with gateway_server(tmp_path) as bench:
        with pytest.raises(NotConnected, match=r"TLS failed: .*certificate"):
            await bench.simulated(credentials).run()
        await until(lambda: "gatewayRejected" in bench.names)

        # asyncio drops the alert that would say why.
        assert bench.published("gatewayRejected")[0]["reason"] == "tlsAborted"


async def test_the_text_of_a_refusal_is_shown(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench:
        await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(enabled=False), cause=CAUSE)
        with pytest.raises(NotConnected, match="PERMISSION_DENIED: refused: gatewayDisabled") as caught:
            await bench.simulated().run()

        assert caught.value.end is not None
        assert caught.value.end.status == 7


async def test_a_later_connection_failure_is_reported_and_retried(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as bench, bench.connected(retry=0.01) as simulated:
        await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(enabled=False), cause=CAUSE)
        await until(lambda: simulated.statistics.not_connected >= 2)
        await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(enabled=True), cause=CAUSE)
        await bench.back(simulated)

        assert any(word == "connect" and "gatewayDisabled" in sentence for word, sentence in bench.notes)


@asynccontextmanager
async def other_server(greeting: bytes, context: ssl.SSLContext | None, *, leaves: bool) -> AsyncIterator[Address]:
    """A server of another protocol, which closes at once or with the client."""
    begun, served = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.set()
        writer.write(greeting)
        while not leaves and await reader.read(1000):
            pass
        writer.close()
        await asyncio.wait((asyncio.create_task(writer.wait_closed()),))
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server, asyncio.timeout(PATIENCE):
        yield server.sockets[0].getsockname()
        if begun.is_set():  # an impatient client may have left before the end of its handshake
            await served.wait()


async def test_a_server_without_tls_is_reported() -> None:
    """For example, another port of the same server."""
    credentials = OtherAuthority().credentials()
    async with other_server(b"220 ready\r\n", None, leaves=False) as address:
        with pytest.raises(NotConnected, match=r"TLS failed: \w+"):
            await ControlStream.open(address, credentials)


async def test_a_server_that_closes_at_once_is_reported() -> None:
    authority = OtherAuthority()
    async with other_server(b"", authority.server_context(), leaves=True) as address:
        with pytest.raises(NotConnected, match="UNAVAILABLE: the server closed the connection"):
            await ControlStream.open(address, authority.credentials())


async def test_waiting_for_a_server_that_never_accepts_ends() -> None:
    """No socket stays open."""
    authority = OtherAuthority()
    async with other_server(b"", authority.server_context(), leaves=False) as address:
        with pytest.raises(NotConnected, match=r"did not answer within 0\.2 s"):
            await ControlStream.open(address, authority.credentials(), patience=0.2)


async def test_waiting_for_a_silent_server_ends() -> None:
    """A port of another program."""
    stranger = Holder.root().leaf("gateway")
    credentials = Credentials(stranger.pem, stranger.key_pem)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        pytest.raises(NotConnected, match=r"did not answer within 0\.05 s"),
    ):
        await ControlStream.open(deaf.getsockname(), credentials, patience=0.05)
