"""The two ports for blobs over a real fleet, and clients of both: curl, and sockets that do what no library would."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from span_events.accepting import RefusedAccepts
from span_events.config import BlobsConfig
from span_events.fleet.certificates import Signed
from span_events.listeners.blobs.clients import TOLERATED, PlainAcceptor, TlsAcceptor
from span_events.listeners.blobs.listener import Acceptor, BlobListener
from span_events.pki.authority import Authority
from span_events.registry.model import Blob, Collection, Device
from span_events.wire.openssl import Identity
from span_events.wire.tls.openssl import COMPATIBLE, TlsEngine
from tests.bench.clock import ManualClock
from tests.bench.fleets import FleetBench, fleet_bench
from tests.bench.programs import run
from tests.bench.waiting import PATIENCE

ADDRESS: Final = "127.0.0.1"
PHOTO = b"\xff\xd8\xff photo " + os.urandom(300_000)
"""Content of a blob."""
HEAD = b"POST /x HTTP/1.1\r\nHost: span\r\nConnection: close\r\n"
"""Request line and fields of an upload, up to its own."""
SMALL: dict[str, Any] = {"max_size": 500_000, "uploads": 2, "uploads_per_device": 2, "connections": 2}
"""Settings with small limits."""
FAST: dict[str, Any] = {"header_timeout": 0.5, "rate_window": 0.1, "min_rate": 100.0, "upload_timeout": 60.0}
"""Settings with very short timeouts."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What curl got, or what came out of a socket."""

    status: int
    text: str
    fields: dict[str, str]


class RawClient:
    """A TCP socket to a port for blobs."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened

    async def send(self, octets: bytes) -> None:
        """Send octets."""
        await asyncio.get_running_loop().sock_sendall(self._socket, octets)

    def end(self) -> None:
        """Say that nothing more comes."""
        self._socket.shutdown(socket.SHUT_WR)

    def break_off(self) -> None:
        """End the connection as a device does that loses its power."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()

    async def receive(self) -> bytes:
        """Wait until the server has closed the connection; return all that it said."""
        said = b""
        async with asyncio.timeout(PATIENCE):
            while octets := await asyncio.get_running_loop().sock_recv(self._socket, 65_536):
                said += octets
        return said

    async def answer(self) -> Answer:
        """Wait for the whole reply."""
        return read_answer(await self.receive())

    async def hear(self, octets: bytes) -> None:
        """Wait for exactly these octets."""
        heard = b""
        async with asyncio.timeout(PATIENCE):
            while len(heard) < len(octets):
                heard += await asyncio.get_running_loop().sock_recv(self._socket, len(octets) - len(heard))
        assert heard == octets


class BlobBench:
    """Listeners with one known device at 127.0.0.1."""

    def __init__(
        self,
        fleet: FleetBench,
        device: Device,
        folder: Path,
        engine: TlsEngine,
        plain: BlobListener,
        secure: BlobListener,
    ) -> None:
        self.engine = engine
        self.fleet = fleet
        self.device = device
        self.folder = folder
        self.plain = plain
        self.secure = secure

    @property
    def collection(self) -> Collection:
        """The collection of the device."""
        return self.device.collection

    @property
    def blobs(self) -> list[Blob]:
        """What was stored, oldest first."""
        return list(self.fleet.directory.blobs.of(self.collection.id))

    @property
    def contents(self) -> list[bytes]:
        """The octets of what was stored."""
        return [self.fleet.blob_file(each).read_bytes() for each in self.blobs]

    @property
    def files(self) -> list[str]:
        """Names of all files, finished or not."""
        return sorted(each.name for each in (self.fleet.folder / "blobs").iterdir())

    @contextmanager
    def client(self, listener: BlobListener | None = None) -> Iterator[RawClient]:
        """Connect a socket, to the plain port unless another is given."""
        host, _, port = (listener or self.plain).address.rpartition(":")
        with socket.create_connection((host, int(port))) as opened:
            opened.setblocking(False)
            yield RawClient(opened)

    async def curl(self, *arguments: str, path: str = "x") -> Answer:
        """Run curl against the plain port."""
        return await curl(*arguments, f"http://{self.plain.address}/{path}")

    async def secure_curl(self, *arguments: str, credentials: Credentials | None = None) -> Answer:
        """Run curl against the TLS port; it trusts our root."""
        root = self.folder / "root.pem"
        root.write_bytes(self.fleet.authority.root_pem)
        shown = () if credentials is None else ("--cert", str(credentials.certificate), "--key", str(credentials.key))
        return await curl("--cacert", str(root), *shown, *arguments, f"https://{self.secure.address}/x")

    async def credentials(self, device: Device | None = None) -> Credentials:
        """Make a certificate for a device, as the API does, and write its files."""
        return write_credentials(self.folder, await self.fleet.certificates.create(device or self.device))


@dataclass(frozen=True, slots=True)
class Credentials:
    """The files with which a client proves who it is."""

    certificate: Path
    key: Path
    serial: int


def write_credentials(folder: Path, signed: Signed) -> Credentials:
    """Write the files of a client: its certificate and those above it, and its key."""
    serial = signed.record.serial
    found = Credentials(folder / f"{serial}.crt", folder / f"{serial}.pem", serial)
    found.certificate.write_bytes(signed.pem + signed.chain_pem)
    found.key.write_bytes(signed.private_key_pem)
    return found


async def curl(*arguments: str) -> Answer:
    """Run curl; a status of 0 means that there was no reply, and the text is what it says of that."""
    ended = await run("curl", "--silent", "--show-error", "--include", *arguments)
    if not ended.output:
        return Answer(0, ended.complaints, {})
    return read_answer(ended.output.encode())


async def tls_client(address: str, credentials: Credentials) -> ssl.SSLSocket:
    """Connect a blocking socket, and shake hands; whom it speaks to does not matter."""
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(credentials.certificate, credentials.key)
    opened = socket.create_connection((host, int(port)), timeout=PATIENCE)
    return await asyncio.to_thread(context.wrap_socket, opened)


async def serial_shown(address: str, credentials: Credentials) -> int:
    """Return the serial number of the certificate that the server shows."""
    with await tls_client(address, credentials) as client:
        return x509.load_der_x509_certificate(client.getpeercert(binary_form=True) or b"").serial_number


def read_answer(octets: bytes) -> Answer:
    """Read the last reply, without what goes before it (100 Continue)."""
    head, _, text = octets.decode().rpartition("\r\n\r\n")
    line, *fields = head.rpartition("\r\n\r\n")[2].split("\r\n")
    return Answer(int(line.split()[1]), text, dict(each.split(": ", 1) for each in fields))


def identities(authority: Authority) -> list[Identity]:
    """Return what the server shows."""
    shown = authority.server_identity()
    return [Identity(shown.key_pem, shown.certificates_pem)]


@asynccontextmanager
async def blob_bench(
    folder: Path, *, address: str = ADDRESS, clock: ManualClock | None = None, **settings: Any
) -> AsyncIterator[BlobBench]:
    """Serve both ports; keywords are tables of the configuration."""
    config = BlobsConfig(**{"port": 0, "tls_port": 0, **settings.get("blobs", {})})
    async with fleet_bench(folder, clock=clock, **settings) as fleet:
        device = await fleet.device(address)
        authority = fleet.authority
        server_clock = fleet.clock
        engine = TlsEngine(
            identities(authority),
            authority.trusted_pem(),
            unix_time=lambda: server_clock.time_ns() // 1_000_000_000,
            protocol=b"",
            tolerated=TOLERATED,
            suites=COMPATIBLE,
        )
        secure = TlsAcceptor(
            config,
            engine,
            reception=fleet.reception,
            identification=fleet.identification,
            used=fleet.certificates.used,
            clock=fleet.clock,
        )
        authority.on_intermediate.append(engine.trust)
        acceptors: dict[str, Acceptor] = {
            "blobs": PlainAcceptor(fleet.reception, fleet.identification),
            "blobs_tls": secure,
        }
        listeners = [
            BlobListener(
                name,
                config,
                setting="blobs.port",
                port=0,
                acceptor=each,
                blobs=fleet.blobs,
                clock=fleet.clock,
                refused=RefusedAccepts(fleet.clock),
            )
            for name, each in acceptors.items()
        ]
        bench = BlobBench(fleet, device, folder, engine, *listeners)
        running = []
        for each in listeners:
            await each.start()
            running.append(asyncio.create_task(each.run()))
        try:
            yield bench
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for each in listeners:
                await each.stop()


def present() -> ManualClock:
    """Make a clock that begins now: clients judge the server's certificate by their own."""
    return ManualClock(time.time_ns())


def upload(content: bytes, *fields: bytes, length: int | None = None) -> bytes:
    """Write a request; its Content-Length is that of the content unless another is given."""
    size = len(content) if length is None else length
    return HEAD + b"".join(each + b"\r\n" for each in fields) + b"Content-Length: %d\r\n\r\n" % size + content


def rejections(bench: BlobBench) -> list[tuple[str, str, str | None]]:
    """Return the rejections: name, reason and detail."""
    return [(name, data["reason"], data.get("detail")) for name, data in bench.fleet.drain()]


async def exchange(bench: BlobBench, octets: bytes) -> Answer:
    """Send octets and wait for the reply."""
    with bench.client() as client:
        await client.send(octets)
        return await client.answer()
