"""A whole server with a gateway and two devices, and simulated gateways over real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from span_events.dialects.span import data_of
from span_events.events.activity import Activity
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.gateways import GatewayChange
from span_events.ids import render
from span_events.registry.model import Collection, Device, Gateway
from span_events.simulator.gateways.control_stream import Credentials
from span_events.simulator.gateways.faults import GATEWAY_FAULTS, GatewayScene
from span_events.simulator.gateways.gateway import SimulatedGateway
from span_events.simulator.sockets import Address
from tests.bench.clock import ManualClock
from tests.bench.servers import CAUSE, Running, running
from tests.bench.waiting import until


class GatewayServer:
    """The server, its events, and one simulated gateway."""

    def __init__(self, running_server: Running, collection: Collection) -> None:
        self.server = running_server.server
        self.clock = running_server.clock
        self.collection = collection
        self.activities: list[Activity] = []
        self.notes: list[tuple[str, str]] = []
        self.gateway: Gateway
        self.devices: list[Device]
        self.credentials: Credentials
        self.server.bus.listen(activities=self.activities.append)

    @property
    def address(self) -> Address:
        """Address of the gateway listener."""
        host, _, port = self.server.addresses["gateways"].rpartition(":")
        return host, int(port)

    @property
    def names(self) -> list[str]:
        """Names of the events since the setup."""
        return [each.event.name for each in self.activities]

    def published(self, name: str) -> list[dict[str, str]]:
        """Data of the events with a name."""
        events = [each.event for each in self.activities if each.event.name == name]
        return [dict(data_of(each)) for each in events]

    async def device(self) -> Device:
        """Make a device behind the gateway."""
        change = DeviceChange(gateways={self.gateway.id: {"devEui": "01"}})
        return await self.server.fleet.devices.create(self.collection, change, cause=CAUSE)

    async def credentials_of(self, owner: Gateway | Device) -> Credentials:
        """Create a certificate."""
        signed = await self.server.fleet.certificates.create(owner)
        return Credentials(signed.pem + signed.chain_pem, signed.private_key_pem)

    def simulated(self, credentials: Credentials | None = None, **options: Any) -> SimulatedGateway:
        """Create the gateway; it reconnects at once, and sends no messages without a rate."""
        options = {"rate": 0.001, "retry": 0.0} | options
        tell: Callable[[str, str], None] = lambda word, sentence: self.notes.append((word, sentence))  # noqa: E731
        return SimulatedGateway(credentials or self.credentials, self.address, tell=tell, **options)

    @asynccontextmanager
    async def connected(self, **options: Any) -> AsyncIterator[SimulatedGateway]:
        """Let the simulated gateway run, and wait until it is configured."""
        simulated = self.simulated(**options)
        task = asyncio.get_running_loop().create_task(simulated.run())
        try:
            await until(lambda: task.done() or len(simulated.devices) == len(self.devices))
            await until(lambda: self.names.count("gatewayDeviceUpdate") == 2 * len(self.devices))
            yield simulated
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.result()

    async def provoke(self, name: str, simulated: SimulatedGateway, **options: Any) -> str:
        """Provoke a fault; return its report."""
        assert simulated.stream is not None
        return await GATEWAY_FAULTS[name](GatewayScene(simulated, simulated.stream, **options))

    async def back(self, simulated: SimulatedGateway, connected: int = 2) -> None:
        """Wait until the gateway has connected a number of times, and is configured."""
        await until(lambda: simulated.statistics.connected == connected)
        await until(lambda: len(simulated.devices) == len(self.devices) and self.gateway.is_online)


@asynccontextmanager
async def gateway_server(folder: Path, **settings: dict[str, Any]) -> AsyncIterator[GatewayServer]:
    """Start everything."""
    clock = ManualClock(time.time_ns())  # TLS of the standard library knows what day it is
    async with running(folder, clock, **settings) as started:
        bench = GatewayServer(started, await started.collection())
        change = GatewayChange(name="roof", params={"band": "868"})
        bench.gateway = await started.server.fleet.gateways.create(bench.collection, change)
        bench.devices = [await bench.device() for _ in range(2)]
        bench.credentials = await bench.credentials_of(bench.gateway)
        bench.activities.clear()
        yield bench


def ids_of(devices: list[Device]) -> set[str]:
    """Return the ids of devices."""
    return {render(each.id) for each in devices}
