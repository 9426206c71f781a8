"""The demo's gateway in a real server: it connects, keeps its certificate, and never ends the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from span_events.app import Server
from span_events.config import Config
from span_events.errors import SpanEventsError
from span_events.events.activity import Event
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.registry.model import Gateway
from span_events.simulator.demo import gateway as demo_gateway
from span_events.simulator.demo.gateway import FAULTS, Keyring, run_demo_gateway
from span_events.simulator.gateways.faults import GATEWAY_FAULTS
from tests.bench.clock import ManualClock
from tests.bench.ports import FREE
from tests.bench.servers import CAUSE, running
from tests.bench.waiting import until
from tests.simulator.gateways.server import GatewayServer, gateway_server

DAY = 86_400


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that the demo does in minutes, in a moment."""
    monkeypatch.setattr(demo_gateway, "RATE", 200.0)
    monkeypatch.setattr(demo_gateway, "RETRY", 0.01)


@asynccontextmanager
async def demo(folder: Path, **settings: Any) -> AsyncIterator[tuple[Server, list[Event]]]:
    """Run a server with its demo; yield the published events, too."""
    async with Server(Config(**FREE | settings), data_dir=folder) as server:
        events: list[Event] = []
        server.bus.listen(activities=lambda activity: events.append(activity.event))
        await server.start_demo()
        yield server, events


def own(server: Server) -> list[Gateway]:
    """Return the gateways that are not built in."""
    return [each for each in server.fleet.directory.gateways.values() if not each.built_in]


def modes_of(folder: Path) -> dict[str, int]:
    """Return the permissions of the keyring's files."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("demo-*.pem")}


async def until_both_sent(server: Server, events: list[Event]) -> list[Event]:
    """Wait for a message of each sensor; return the events of the gateway."""
    (gateway,) = own(server)
    sensors = server.fleet.directory.devices_behind(gateway)
    await until(lambda: len(sensors) == 2 and all(each.last_received_ns for each in sensors))
    return [each for each in events if each.origin.gateway_id == gateway.id]


async def test_the_demo_has_a_gateway_with_two_sensors_behind_it(tmp_path: Path) -> None:
    async with demo(tmp_path) as (server, events):
        seen = await until_both_sent(server, events)
        (gateway,) = own(server)

        assert (gateway.name, gateway.type) == ("demo gateway", "lora")
        assert gateway.status == "online"
        assert [each.name for each in seen[:4]] == [
            *("gatewayConnected", "gatewayConfigUpdate", "gatewayDeviceUpdate", "gatewayDeviceUpdate")
        ]
        assert {each.name for each in seen} >= {"gatewayUpstreamMessage", "upstreamMessage"}
    assert not server.failed.done()


async def test_a_second_start_finds_gateway_sensors_and_certificates(tmp_path: Path) -> None:
    """An owner may have only so many certificates, and a demo is started often."""
    for _ in range(2):
        async with demo(tmp_path) as (server, events):
            await until_both_sent(server, events)
            (gateway,) = own(server)
            certificates = list(server.fleet.directory.certificates.values())

            assert len(server.fleet.directory.devices_behind(gateway)) == 2
            assert len(certificates) == 2  # of the gateway, and the wrong one
    assert modes_of(tmp_path) == {"demo-gateway.pem": 0o600, "demo-sensor.pem": 0o600}


async def test_without_a_listener_for_gateways_there_is_none(tmp_path: Path) -> None:
    async with demo(tmp_path, gateways={"enabled": False}) as (server, _):
        assert own(server) == []
    assert not server.failed.done()


async def test_a_listener_at_another_address_is_reached(tmp_path: Path) -> None:
    """The server's certificate is for localhost whatever is bound; 127.0.0.9 it does not name."""
    async with demo(tmp_path, gateways={"port": 0, "host": "127.0.0.9"}) as (server, events):
        await until_both_sent(server, events)


async def test_all_faults_but_none_that_is_unknown_are_part_of_it() -> None:
    assert sorted(FAULTS) == sorted(GATEWAY_FAULTS)


@asynccontextmanager
async def playing(bench: GatewayServer, folder: Path) -> AsyncIterator[None]:
    """Run the demo's gateway against a server without the demo."""
    keyring = Keyring(folder, bench.server.fleet.certificates, bench.clock)
    task = asyncio.get_running_loop().create_task(
        run_demo_gateway(target=bench.address, gateway=bench.gateway, sensors=bench.devices, keyring=keyring)
    )
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait((task,))
    assert task.cancelled()


async def test_a_gateway_that_is_not_let_in_waits(tmp_path: Path) -> None:
    """A failure of the demo must not end the server."""
    async with gateway_server(tmp_path) as bench:
        await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(enabled=False), cause=CAUSE)
        async with playing(bench, tmp_path):
            await until(lambda: "gatewayRejected" in bench.names)
            await bench.server.fleet.gateways.update(bench.gateway, GatewayChange(enabled=True), cause=CAUSE)
            await until(lambda: bench.gateway.is_online)


async def test_a_gateway_that_was_removed_waits_too(tmp_path: Path) -> None:
    """A user may delete the demo's resources."""
    async with gateway_server(tmp_path) as bench:
        await bench.server.fleet.gateways.remove(bench.gateway, cause=CAUSE)
        with capture_logs() as lines:
            async with playing(bench, tmp_path):
                await until(lambda: len(lines) >= 2)

    assert {each["event"] for each in lines} == {"demo_gateway_waits"}
    assert "gatewayConnected" not in bench.names


@asynccontextmanager
async def keyring_of(folder: Path) -> AsyncIterator[tuple[Keyring, GatewayServer, ManualClock]]:
    """Create a keyring for a server with a manual clock."""
    clock = ManualClock()
    async with running(folder, clock) as started:
        bench = GatewayServer(started, await started.collection())
        bench.gateway = await started.server.fleet.gateways.create(bench.collection, GatewayChange())
        yield Keyring(folder, started.server.fleet.certificates, clock), bench, clock


async def test_a_certificate_is_kept_until_the_last_third_of_its_life(tmp_path: Path) -> None:
    async with keyring_of(tmp_path) as (keyring, bench, clock):
        first = await keyring.credentials(bench.gateway, "a.pem")
        clock.shift(9 * DAY)
        same = await keyring.credentials(bench.gateway, "a.pem")
        clock.shift(1 * DAY)
        other = await keyring.credentials(bench.gateway, "a.pem")

        assert same == first
        assert other.certificates_pem != first.certificates_pem
        assert 9 * DAY < keyring.seconds_left(other) < 10 * DAY
        assert keyring.seconds_left(first) < 0


async def test_a_certificate_that_is_no_good_any_more_is_replaced(tmp_path: Path) -> None:
    """Revoked, of another data directory, or only a piece of a file."""
    async with keyring_of(tmp_path) as (keyring, bench, _):
        first = await keyring.credentials(bench.gateway, "a.pem")
        (record,) = bench.server.fleet.certificates.list(bench.gateway)
        await bench.server.fleet.certificates.revoke(bench.collection, record.serial)
        second = await keyring.credentials(bench.gateway, "a.pem")
        (tmp_path / "a.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nnonsense\n")
        third = await keyring.credentials(bench.gateway, "a.pem")

        assert len({each.certificates_pem for each in (first, second, third)}) == 3
        assert await keyring.credentials(bench.gateway, "a.pem") == third


async def test_an_unwritable_keyring_is_reported(tmp_path: Path) -> None:
    async with keyring_of(tmp_path) as (keyring, bench, _):
        with pytest.raises(SpanEventsError, match="cannot be written"):
            await keyring.credentials(bench.gateway, "missing/a.pem")
