"""A CoAP listener with a real socket and a real fleet, and devices that send raw datagrams."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from span_events.config import CoapConfig, MessagesConfig
from span_events.listeners.coap.coap import Coap
from span_events.listeners.coap.service import MakeService
from span_events.registry.model import Device
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, decode, encode
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.waiting import PATIENCE

PING: Final = bytes.fromhex("4000feed")
PONG: Final = bytes.fromhex("7000feed")
Services = Callable[[FleetBench], Sequence[MakeService]]
"""Creates the services at the reserved paths."""


class RawClient:
    """A device's socket, for any octets."""

    def __init__(self, host: str, server: tuple[str, int]) -> None:
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((host, 0))
        self._socket.connect(server)

    @property
    def remote(self) -> str:
        """Address of the socket, as in events."""
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, datagram: bytes) -> None:
        """Send octets."""
        self._socket.send(datagram)

    async def receive(self) -> bytes:
        """Wait for a datagram."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.get_running_loop().sock_recv(self._socket, 65_536)

    def take(self) -> bytes | None:
        """Return a datagram that has come already; None without one."""
        try:
            return self._socket.recv(65_536)
        except BlockingIOError:
            return None

    async def exchange(self, datagram: bytes) -> CoapMessage:
        """Send octets and return the reply."""
        self.send(datagram)
        return decode(await self.receive())

    async def gets_no_answer(self, datagram: bytes) -> bool:
        """Send octets and a ping; return whether the first answer is that to the ping (the server answers in order)."""
        self.send(datagram)
        self.send(PING)
        return await self.receive() == PONG

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class CoapBench:
    """A listener with one known device at 127.0.0.1."""

    def __init__(self, fleet: FleetBench, listener: Coap, device: Device) -> None:
        self.fleet = fleet
        self.listener = listener
        self.device = device
        host, _, port = listener.address.rpartition(":")
        self.server = (host.strip("[]"), int(port))
        self._clients: list[RawClient] = []
        self.client = self.client_at("127.0.0.1" if "." in host else "::1")

    def client_at(self, host: str) -> RawClient:
        """Open a socket at an address of this machine."""
        client = RawClient(host, self.server)
        self._clients.append(client)
        return client

    @property
    def payloads(self) -> list[bytes]:
        """Payloads of the accepted upstream messages."""
        return [message.payload for message in self.fleet.messages]

    async def queue(self, payload: bytes) -> None:
        """Queue a message for the device, and forget the event of that."""
        await self.fleet.outbox.queue(self.device, payload, cause=CAUSE)
        self.fleet.activities.clear()

    def close(self) -> None:
        """Close the clients' sockets."""
        for client in self._clients:
            client.close()


@asynccontextmanager
async def coap_bench(
    folder: Path,
    *,
    coap: dict[str, Any] | None = None,
    address: str = "127.0.0.1",
    services: Services = lambda _: (),
    **settings: Any,
) -> AsyncIterator[CoapBench]:
    """Start a listener on a free port; other keywords are tables of the configuration."""
    async with fleet_bench(folder, **settings) as fleet:
        device = await fleet.device(address)
        listener = Coap(
            CoapConfig(**{"port": 0, **(coap or {})}),
            MessagesConfig(**settings.get("messages", {})),
            reception=fleet.reception,
            outbox=fleet.outbox,
            clock=fleet.clock,
            services=services(fleet),
        )
        await listener.start()
        bench = CoapBench(fleet, listener, device)
        try:
            yield bench
        finally:
            bench.close()
            await listener.stop()


def post(
    payload: bytes = b"",
    *,
    path: str = "x",
    message_id: int = 1,
    token: bytes = b"t",
    kind: Type = Type.CON,
    options: Options = (),
    code: int = Code.POST,
) -> bytes:
    """Write a request."""
    segments = tuple((int(Option.URI_PATH), segment.encode()) for segment in path.split("/"))
    ordered = tuple(sorted((*segments, *options), key=lambda option: option[0]))
    return encode(CoapMessage(kind, code, message_id, token, ordered, payload))


def get(
    *, path: str = "x", message_id: int = 1, token: bytes = b"t", kind: Type = Type.CON, options: Options = ()
) -> bytes:
    """Write a GET request."""
    return post(path=path, message_id=message_id, token=token, kind=kind, options=options, code=Code.GET)
