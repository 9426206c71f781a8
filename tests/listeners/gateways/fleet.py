"""The listener for gateways over a real fleet and authority, and gateways on the independent library grpcio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.accepting import RefusedAccepts
from span_events.config import GatewaysConfig
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.gateways.listener import GatewayListener
from span_events.proto.gateway_pb2 import ControlStreamRequest, ControlStreamResponse
from span_events.registry.model import Collection, Device, Gateway
from span_events.wire.openssl import Identity
from span_events.wire.tls.openssl import TlsEngine
from tests.bench.certificates import Holder, Key
from tests.bench.clock import ManualClock
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.waiting import until
from tests.listeners.gateways.bench import RawGateway
from tests.wire.grpc.client import GrpcClient
from tests.wire.tls.client import TlsClient

METHOD = "/gateway.v1.UserGatewayService/ControlStream"
Call = grpc.aio.StreamStreamCall[ControlStreamRequest, ControlStreamResponse]


@dataclass(frozen=True)
class Files:
    """Files written by ``cert create``."""

    key: bytes
    certificates: bytes
    """The leaf, then its chain up to the root, which is also the gateway's only trusted root."""


class FleetGateways:
    """A gateway with one device, its listener and its fleet."""

    def __init__(self, fleet: FleetBench, listener: GatewayListener, collection: Collection) -> None:
        self.fleet = fleet
        self.listener = listener
        self.collection = collection
        self.gateway: Gateway
        self.device: Device
        self.files: Files
        self._channels: list[grpc.aio.Channel] = []
        self._raw: list[RawGateway] = []

    @property
    def serial(self) -> str:
        """Serial number of the newest certificate of the gateway."""
        return str(self.fleet.certificates.list(self.gateway)[0].serial)

    async def device_behind(self, gateway: Gateway) -> Device:
        """Create a device with a block for a gateway."""
        change = DeviceChange(gateways={gateway.id: {"devEui": "01"}})
        return await self.fleet.devices.create(gateway.collection, change, cause=CAUSE)

    async def certificate(self, owner: Gateway | Device) -> Files:
        """Create a certificate."""
        signed = await self.fleet.certificates.create(owner)
        return Files(signed.private_key_pem, signed.pem + signed.chain_pem)

    def channel(self, files: Files | None = None, *, roots: bytes = b"", **options: Any) -> grpc.aio.Channel:
        """Create a separate channel, like a separate process."""
        files = files or self.files
        credentials = grpc.ssl_channel_credentials(roots or files.certificates, files.key, files.certificates)
        target = self.listener.address
        channel = grpc.aio.secure_channel(
            target, credentials, options=[("grpc.use_local_subchannel_pool", 1)], **options
        )
        self._channels.append(channel)
        return channel

    def call(self, channel: grpc.aio.Channel | None = None, **options: Any) -> Call:
        """Open the control stream."""
        method: grpc.aio.StreamStreamMultiCallable[ControlStreamRequest, ControlStreamResponse] = (
            channel or self.channel()
        ).stream_stream(
            METHOD,
            request_serializer=ControlStreamRequest.SerializeToString,
            response_deserializer=ControlStreamResponse.FromString,
        )
        return method(**options)

    def raw(self, files: Files | None = None) -> RawGateway:
        """Create a raw gateway, which is not bound to the behaviour of a library."""
        files = files or self.files
        leaf, intermediate, _root = x509.load_pem_x509_certificates(files.certificates)
        key: Key = load_pem_private_key(files.key, None)  # type: ignore[assignment]  # EC by default
        host, _, port = self.listener.address.rpartition(":")
        holder = Holder(key, leaf, (intermediate,))
        made = RawGateway((host, int(port)), TlsClient(holder), GrpcClient(), receive_buffer=0)
        self._raw.append(made)
        return made

    async def published(self, count: int) -> list[tuple[str, dict[str, str]]]:
        """Wait for a number of events, and take them."""
        await until(lambda: len(self.fleet.activities) >= count)
        return self.fleet.drain()

    async def close(self) -> None:
        """Close the gateways' channels."""
        for raw in self._raw:
            raw.die()
        for channel in self._channels:
            await channel.close()


@asynccontextmanager
async def fleet_gateways(folder: Path, **settings: Any) -> AsyncIterator[FleetGateways]:
    """Start everything; keywords are settings of the listener."""
    clock = ManualClock(time.time_ns())  # real clients know what day it is
    async with fleet_bench(folder, clock=clock, gateways=settings) as fleet:
        shown = fleet.authority.server_identity()
        engine = TlsEngine(
            [Identity(each.key_pem, each.certificates_pem) for each in (shown, shown.rsa) if each is not None],
            fleet.authority.trusted_pem(),
            unix_time=lambda: clock.time_ns() // 1_000_000_000,
        )
        fleet.authority.on_intermediate.append(engine.trust)
        listener = GatewayListener(
            GatewaysConfig(**({"port": 0, "linger": 0.2} | settings)),
            sessions=fleet.gateway_sessions,
            engine=engine,
            identification=fleet.identification,
            clock=clock,
            refused=RefusedAccepts(clock),
        )
        await listener.start()
        running = asyncio.get_running_loop().create_task(listener.run())
        bench = FleetGateways(fleet, listener, await fleet.collection())
        bench.gateway = await fleet.gateway(bench.collection, params={"band": "868"})
        bench.device = await bench.device_behind(bench.gateway)
        bench.files = await bench.certificate(bench.gateway)
        fleet.activities.clear()
        try:
            yield bench
        finally:
            await bench.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await listener.stop()
        assert listener.defects == 0
