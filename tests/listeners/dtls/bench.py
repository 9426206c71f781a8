"""Test equipment: the DTLS listeners on real sockets with a real fleet and authority, and clients of devices."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from span_events.config import CoapConfig, CoapsConfig, DatagramsConfig, DtlsConfig, MessagesConfig
from span_events.listeners.coap.coaps import Coaps
from span_events.listeners.datagrams import Datagrams
from span_events.listeners.dtls.server import DtlsContext, DtlsServer
from span_events.registry.model import Device, Psk
from span_events.wire.dtls.openssl import OpensslEngine
from span_events.wire.dtls.records import records
from span_events.wire.openssl import Identity
from tests.bench.certificates import Holder, Key
from tests.bench.clock import ManualClock
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.waiting import until
from tests.listeners.coap.bench import RawClient, Services
from tests.wire.dtls.client import DtlsClient

PSK = Psk(b"device-1", b"0123456789abcdef")


class SecureClient(RawClient):
    """A device's socket with a DTLS client."""

    def __init__(self, dtls: DtlsClient, host: str, server: tuple[str, int]) -> None:
        super().__init__(host, server)
        self.dtls = dtls

    def transmit(self, datagrams: list[bytes]) -> None:
        """Send datagrams of the client."""
        for datagram in datagrams:
            self.send(datagram)

    async def greet(self) -> None:
        """Send both hellos, the second with the cookie; the server's flight stays unread in the socket."""
        self.transmit(self.dtls.start())
        self.transmit(self.dtls.step(await self.receive()))

    async def connect(self) -> SecureClient:
        """Run the handshake until it is complete or has failed."""
        self.transmit(self.dtls.start())
        while not (self.dtls.established or self.dtls.failure):
            self.transmit(self.dtls.step(await self.receive()))
        return self

    async def listen(self) -> bytes:
        """Wait for application data."""
        while not self.dtls.received:
            self.transmit(self.dtls.step(await self.receive()))
        return self.dtls.received.pop(0)

    async def receive_close_notify(self) -> None:
        """Wait for a close_notify."""
        while not self.dtls.closed:
            self.dtls.step(await self.receive())

    def say(self, payload: bytes) -> None:
        """Send application data."""
        self.transmit(self.dtls.send(payload))

    def leave(self) -> None:
        """Send a close_notify."""
        self.transmit(self.dtls.close())


class DtlsBench:
    """Both listeners, and one device that has a certificate and a PSK."""

    def __init__(self, fleet: FleetBench, datagrams: Datagrams, coaps: Coaps, device: Device, holder: Holder) -> None:
        self.fleet = fleet
        self.datagrams = datagrams
        self.coaps = coaps
        self.device = device
        self.holder = holder
        self._clients: list[RawClient] = []

    @property
    def dtls(self) -> DtlsServer:
        """The DTLS server on the port for datagrams."""
        assert self.datagrams.dtls is not None
        return self.datagrams.dtls

    @property
    def serial(self) -> str:
        """Serial number of the device's certificate, as events show it."""
        return str(self.holder.certificate.serial_number)

    def client(self, dtls: DtlsClient | None = None, *, host: str = "127.0.0.1", coaps: bool = False) -> SecureClient:
        """Open a socket; the device's certificate is used unless the test brings another client."""
        created = SecureClient(
            dtls or DtlsClient(self.holder), host, address_of(self.coaps if coaps else self.datagrams)
        )
        self._clients.append(created)
        return created

    def psk_client(self, identity: bytes = PSK.identity, key: bytes = PSK.key) -> SecureClient:
        """Open a socket of a device with a PSK."""
        return self.client(DtlsClient(psk=(identity, key)))

    def raw(self) -> RawClient:
        """Open a socket without DTLS."""
        created = RawClient("127.0.0.1", address_of(self.datagrams))
        self._clients.append(created)
        return created

    async def certificate(self, device: Device) -> Holder:
        """Issue another certificate."""
        return await issue(self.fleet, device)

    async def published(self, count: int) -> list[tuple[str, dict[str, str]]]:
        """Wait for a number of events, and take them."""
        await until(lambda: len(self.fleet.activities) >= count)
        return self.fleet.drain()

    async def names(self, count: int) -> list[str]:
        """Wait for a number of events, take them, and return their names."""
        return [name for name, _ in await self.published(count)]

    def close(self) -> None:
        """Close the clients' sockets."""
        for client in self._clients:
            client.close()


@asynccontextmanager
async def dtls_bench(
    folder: Path, *, dtls: dict[str, Any] | None = None, services: Services = lambda _: (), **settings: Any
) -> AsyncIterator[DtlsBench]:
    """Start the listeners on free ports; other keywords are tables of the configuration."""
    clock = ManualClock(time.time_ns())  # real clients check certificates against the current time
    async with fleet_bench(folder, clock=clock, **settings) as fleet:
        device = await fleet.device()
        holder = await issue(fleet, device)
        await fleet.psks.put(device, PSK, cause=CAUSE)
        secure = make_secure(fleet, DtlsConfig(**(dtls or {})))
        datagrams = Datagrams(DatagramsConfig(port=0), reception=fleet.reception, outbox=fleet.outbox, secure=secure)
        coaps = Coaps(
            CoapsConfig(port=0),
            CoapConfig(),
            MessagesConfig(**settings.get("messages", {})),
            reception=fleet.reception,
            outbox=fleet.outbox,
            clock=clock,
            secure=secure,
            services=services(fleet),
        )
        await datagrams.start()
        await coaps.start()
        fleet.activities.clear()
        bench = DtlsBench(fleet, datagrams, coaps, device, holder)
        try:
            yield bench
        finally:
            bench.close()
            await datagrams.stop()
            await coaps.stop()
        assert datagrams.defects == 0
        assert coaps.defects == 0


def make_secure(fleet: FleetBench, config: DtlsConfig) -> DtlsContext:
    """Create the parts that both listeners share, in the way of the server."""
    shown = fleet.authority.server_identity()
    assert shown.rsa is not None
    engine = OpensslEngine(
        [Identity(each.key_pem, each.certificates_pem) for each in (shown, shown.rsa)],
        fleet.authority.trusted_pem() + b"".join(fleet.authority.intermediates_pem()),
        unix_time=lambda: fleet.clock.time_ns() // 1_000_000_000,
    )
    fleet.authority.on_intermediate.append(engine.trust)
    fleet.certificates.on_revoked.append(fleet.reception.sessions.certificate_revoked)
    fleet.psks.on_changed.append(fleet.reception.sessions.psk_changed)
    return DtlsContext(
        config=config,
        engine=engine,
        reception=fleet.reception,
        identification=fleet.identification,
        used=fleet.certificates.used,
        clock=fleet.clock,
    )


async def issue(fleet: FleetBench, device: Device) -> Holder:
    """Create a certificate for a device."""
    signed = await fleet.certificates.create(device)
    intermediate, _root = x509.load_pem_x509_certificates(signed.chain_pem)
    key: Key = load_pem_private_key(signed.private_key_pem, None)  # type: ignore[assignment]  # EC by default
    return Holder(key, x509.load_pem_x509_certificate(signed.pem), (intermediate,))


def address_of(listener: Datagrams | Coaps) -> tuple[str, int]:
    """Return the bound host and port of a listener."""
    host, _, port = listener.address.rpartition(":")
    return host.strip("[]"), int(port)


def first_record(datagram: bytes) -> bytes:
    """Return the first record of a datagram."""
    record = next(records(datagram))
    return datagram[: record.at + record.length]
