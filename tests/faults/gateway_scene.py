"""A gateway with a device: real clients with its certificate or others, and the events of subscribers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from tests.bench.certificates import Holder, Key
from tests.bench.live import Credentials, Document, LiveServer, Tail
from tests.bench.waiting import until
from tests.e2e.gateways import EUI, GatewayProgram, LiveGateway, add_device_behind, add_gateway
from tests.faults.scene import EXTENDED, Scene, check_words
from tests.faults.secure import owner_of, session_of
from tests.listeners.gateways.bench import CONFIG_REQUEST, RawGateway
from tests.wire.grpc.client import GrpcClient
from tests.wire.tls.client import TlsClient


@dataclass(slots=True)
class GatewayScene:
    """A gateway with a certificate, and a subscriber who also gets events without an owner."""

    scene: Scene
    everything: Tail
    gateway: LiveGateway
    files: Credentials
    _clients: list[RawGateway] = field(default_factory=list)

    @property
    def server(self) -> LiveServer:
        """Address of the listener."""
        return self.scene.server

    @property
    def whose(self) -> Document:
        """Origin of events of the gateway."""
        return {"collectionId": self.gateway.collection, "gatewayId": self.gateway.id}

    @property
    def collection(self) -> Document:
        """Origin of events of its collection."""
        return {"collectionId": self.gateway.collection}

    # ---- clients ------------------------------------------------------------------------------

    def program(self, files: Credentials | None = None) -> GatewayProgram:
        """Run the gateway, or a client with another certificate; both trust this server."""
        return GatewayProgram(self.server, files or self.files, roots=self.files.certificate)

    def client(self) -> RawGateway:
        """Make a raw client with the gateway's certificate."""
        leaf, *above = x509.load_pem_x509_certificates(self.files.certificate.read_bytes())
        key: Key = load_pem_private_key(self.files.key.read_bytes(), None)  # type: ignore[assignment]  # EC by default
        host, _, port = self.server.addresses["gateways"].rpartition(":")
        tls = TlsClient(Holder(key, leaf, tuple(above[:-1])))
        client = RawGateway((host, int(port)), tls, GrpcClient(), receive_buffer=0)
        self._clients.append(client)
        return client

    async def raw(self) -> RawGateway:
        """Connect a raw client, and wait until it has its configuration."""
        client = self.client()
        await client.serve()
        await client.send(CONFIG_REQUEST)
        await until(lambda: len(client.grpc.messages) == 2)
        await self.scene.tail.until("gatewayDeviceUpdate")
        self.scene.tail.seen.clear()
        return client

    # ---- events of subscribers ----------------------------------------------------------------

    async def rejected(self, reason: GatewayRejectedReason, *, of: Document) -> Document:
        """Wait for the event of a rejected gateway; check its origin, and return the rest of its data."""
        event = await self.everything.until("gatewayRejected")
        data: Document = event["data"]
        if of:
            await self.scene.tail.until("gatewayRejected", reason=reason.value)
        else:
            assert "gatewayRejected" not in await self.scene.names_until_now()

        assert data.pop("reason") == reason.value, data
        assert data.pop("remoteAddress").startswith("127.0.0.1:")
        assert (data.pop("stage"), data.pop("tlsVersion")) == ("http2", "TLSv1.3")
        assert int(data.pop("seconds")) >= 0
        assert owner_of(event) == of
        check_words(event, "error", reason.hint)
        return data

    async def lost(self, reason: GatewayReason) -> tuple[Document, Document]:
        """Wait for the two events of an abnormal end; check them, and return their data."""
        error, left = await self.scene.tail.until("gatewayCommError"), await self.scene.tail.next()

        assert (error["event"], left["event"]) == ("gatewayCommError", "gatewayDisconnected")
        assert error["data"].pop("reason") == left["data"].pop("reason") == reason.value
        assert owner_of(error) == owner_of(left) == self.whose
        assert session_of(error) == session_of(left)
        check_words(error, "error", reason.hint)
        check_words(left, "warning", reason.hint)
        assert await self.gateway.status() == "offline"
        return error["data"], left["data"]

    async def lets_others_in(self, folder: Path) -> None:
        """Let another gateway connect, and send an upstream message."""
        gateway = await add_gateway(self.server, await self.server.add_collection())
        device = await add_device_behind(gateway)
        files = await gateway.certificate(folder)
        path = f"/span/collections/{gateway.collection}/activity"
        async with self.server.tail(path, EXTENDED) as tail, GatewayProgram(self.server, files) as program:
            program.do("connect")
            program.do("upstream_message", device_id=device.id, payload="hello")
            await tail.until("upstreamMessage", bytes="5")
            assert await gateway.status() == "online"

    def close(self) -> None:
        """Close the raw clients."""
        for each in self._clients:
            each.die()


@asynccontextmanager
async def open_gateway_scene(scene: Scene, folder: Path) -> AsyncIterator[GatewayScene]:
    """Put the device behind a gateway with a certificate; after the fault, the server must still accept others."""
    gateway = await add_gateway(scene.server, scene.device.collection)
    await gateway.attach(scene.device, **EUI)
    await scene.published("deviceUpdated")
    scene.tail.seen.clear()
    files = await gateway.certificate(folder / "roof")
    async with scene.server.tail(query=EXTENDED) as everything:
        opened = GatewayScene(scene, everything, gateway, files)
        try:
            yield opened
        finally:
            opened.close()
        await opened.lets_others_in(folder / "other")
