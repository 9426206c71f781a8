"""The listener for gateways on a real socket, and gateways for every kind of end."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from typing import Any, Final

import pytest
from cryptography import x509

from span_events.accepting import RefusedAccepts
from span_events.config import GatewaysConfig
from span_events.events.activity import UNATTRIBUTED, Origin
from span_events.events.catalogue import GatewayRejected
from span_events.events.reasons import GatewayReason, GatewayRejectedReason
from span_events.fleet.gateways.session import Departure
from span_events.fleet.identity import Refusal
from span_events.listeners.gateways.connection import GatewayConnection
from span_events.listeners.gateways.listener import GatewayListener
from span_events.proto.gateway_pb2 import (
    ConfigRequest,
    ControlStreamRequest,
    ControlStreamResponse,
    DeviceConfigUpdate,
    GatewayConfigUpdate,
    Keepalive,
    KeepaliveResponse,
    UpstreamMessage,
)
from span_events.wire.openssl import Identity
from span_events.wire.tls.openssl import TlsEngine
from tests.bench.certificates import Holder
from tests.bench.clock import ManualClock
from tests.bench.waiting import until
from tests.wire.grpc.client import PATH, GrpcClient
from tests.wire.tls.client import TlsClient

ROOT: Final = Holder.root()
SERVERS: Final = ROOT.intermediate("servers")
COLLECTION: Final = ROOT.intermediate("collection")
SERVER: Final = SERVERS.leaf("server", server=True)
GATEWAY: Final = COLLECTION.leaf("gateway", serial=4711)
SECOND: Final = COLLECTION.leaf("gateway", serial=4712)
"""Another certificate of the same gateway."""
OTHER: Final = COLLECTION.leaf("other", serial=4713)
ORIGIN: Final = Origin(7, gateway_id=4711)

CONFIG_REQUEST: Final = ControlStreamRequest(config=ConfigRequest()).SerializeToString()
KEEPALIVE: Final = ControlStreamRequest(keepalive=Keepalive()).SerializeToString()
KEEPALIVE_RESPONSE: Final = ControlStreamResponse(keepalive_response=KeepaliveResponse())

VERSIONS: Final = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])

_SO_ATTACH_FILTER: Final = 26
"""asm-generic/socket.h; Python has no name for it."""
_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)
"""One instruction of BPF: return 0."""


def upstream(payload: bytes, device_id: str = "17dh0cf43jfgl8") -> bytes:
    """Encode a message of a device."""
    message = UpstreamMessage(device_id=device_id, payload=payload, metadata={"rssi": "-80"})
    return ControlStreamRequest(upstream_message=message).SerializeToString()


@dataclass(eq=False)
class Opened:
    """A session of `RecordingSessions`."""

    serial: int
    link: GatewayConnection
    details: dict[str, Any]
    received: list[ControlStreamRequest] = field(default_factory=list)
    departed: list[Departure] = field(default_factory=list)
    ended: list[tuple[GatewayReason, str]] = field(default_factory=list)


class RecordingSessions:
    """Double of the fleet: accepts known serial numbers, answers requests, and records all calls."""

    def __init__(self) -> None:
        self.known: dict[int, str | GatewayRejectedReason] = {4711: "gateway", 4712: "gateway", 4713: "other"}
        self.sessions: list[Opened] = []
        self.live: dict[str, Opened] = {}
        self.rejections: list[tuple[GatewayRejectedReason, dict[str, Any]]] = []
        self.published: list[str] = []
        self.fails = False
        self.contested = ""
        self.follow_up: Departure = None
        """Departure of a message that is sent as soon as another one has left."""

    def gateway_of(self, certificate: x509.Certificate, *, now_ms: int) -> Any:
        """Return the gateway that a certificate belongs to, or a refusal."""
        assert now_ms > 0
        found = self.known.get(certificate.serial_number, GatewayRejectedReason.UNKNOWN_SERIAL)
        return Refusal(found) if isinstance(found, GatewayRejectedReason) else found

    def owner_of(self, certificate: x509.Certificate) -> object:
        """Return the owner of a certificate: no question is asked."""
        return self

    def origin_of(self, certificate: x509.Certificate | None) -> Origin:
        """Return one origin for all certificates of the collection's intermediate."""
        is_ours = certificate is not None and certificate.issuer == COLLECTION.certificate.subject
        return ORIGIN if is_ours else UNATTRIBUTED

    def conflict(self, _gateway: Any) -> str:
        """Return the conflict that the test has set."""
        return self.contested

    def opened(self, gateway: Any, *, certificate_serial: int, link: GatewayConnection, **details: Any) -> Opened:
        """End an older session of the gateway, and start a new one."""
        older = self.live.get(gateway)
        if older is not None:
            older.link.end(GatewayReason.REPLACED)
        session = self.live[gateway] = Opened(certificate_serial, link, details)
        self.sessions.append(session)
        self.published.append("opened")
        return session

    def received(self, session: Opened, message: ControlStreamRequest) -> None:
        """Answer like the real fleet."""
        assert not self.fails, "a defect that the test made"
        session.received.append(message)
        kind = message.WhichOneof("msg")
        if kind == "keepalive":
            session.link.send(KEEPALIVE_RESPONSE)
        elif kind == "config":
            session.link.send(ControlStreamResponse(gateway_update=GatewayConfigUpdate(gateway_id="g")))
            for number in range(3):
                session.link.send(device_config(number), key=number)

    def flushed(self, session: Opened) -> None:
        """Record the messages that have left."""
        session.departed += session.link.take_departed()
        if self.follow_up is not None:
            follow_up, self.follow_up = self.follow_up, None
            session.link.send(KEEPALIVE_RESPONSE, departure=follow_up)

    def ended(self, session: Opened, reason: GatewayReason, *, detail: str = "", seconds: int | None = None) -> None:
        """Record the only end of a session."""
        session.ended.append((reason, detail))
        self.published.append(f"ended {reason}" + (f" {seconds}" if seconds is not None else ""))
        for gateway, live in list(self.live.items()):
            if live is session:
                del self.live[gateway]

    def rejected(self, event: GatewayRejected) -> None:
        """Record a rejection."""
        self.rejections.append((event.reason, {each.name: getattr(event, each.name) for each in fields(event)}))


def device_config(number: int, value: str = "1") -> ControlStreamResponse:
    """Encode the configuration of a device."""
    return ControlStreamResponse(device_update=DeviceConfigUpdate(device_id=str(number), config={"a": value}))


class RawGateway:
    """
    A gateway on a raw socket.

    It reads all the time unless frozen, so that its library answers pings.
    """

    def __init__(self, address: tuple[str, int], tls: TlsClient, grpc: GrpcClient, *, receive_buffer: int) -> None:
        self.tls = tls
        self.grpc = grpc
        self._address = address
        self._socket = socket.socket()
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.setblocking(False)
        self._reader: asyncio.Task[None] | None = None
        self.lost = ""
        """End of the socket: ``eof`` or the error's name."""

    @property
    def remote(self) -> tuple[str, int]:
        """Address of the client at the server."""
        host, port = self._socket.getsockname()
        return host, port

    async def dial(self) -> RawGateway:
        """Connect TCP only."""
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        return self

    async def connect(self) -> RawGateway:
        """Complete the TLS handshake, and start HTTP/2."""
        await self.dial()
        await self.write(self.tls.step())
        self.thaw()
        await until(lambda: self.tls.established or bool(self.tls.failure or self.lost))
        return self

    async def open(self, path: str = PATH, **options: Any) -> RawGateway:
        """Connect, and open a stream."""
        await self.connect()
        await self.say(self.grpc.take() + self.grpc.open(path, **options))
        return self

    async def serve(self) -> RawGateway:
        """Connect, open the stream, and wait until the server accepts it."""
        await self.open()
        await until(lambda: bool(self.grpc.headers))
        return self

    async def say(self, octets: bytes) -> None:
        """Send octets of HTTP/2."""
        await self.write(self.tls.send(octets))

    async def send(self, message: bytes) -> None:
        """Send a message."""
        await self.say(self.grpc.send(message))

    async def write(self, octets: bytes) -> None:
        """Send octets of TCP."""
        await asyncio.get_running_loop().sock_sendall(self._socket, octets)

    async def refused(self) -> tuple[int, str]:
        """Wait for the end of the stream, and return its status and text."""
        await until(lambda: self.grpc.status is not None)
        assert self.grpc.status is not None
        return self.grpc.status

    async def gone(self) -> str:
        """Wait until the server has closed the socket; return the kind of end."""
        await until(lambda: bool(self.lost))
        return self.lost

    def freeze(self) -> None:
        """Stop reading, like a stopped process; its kernel continues."""
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None
            asyncio.get_running_loop().remove_reader(self._socket)  # the task does so later: too late if it is closed

    def thaw(self) -> None:
        """Continue reading."""
        self._reader = asyncio.get_running_loop().create_task(self._read())

    async def leave(self) -> None:
        """Close TLS in order, then TCP."""
        await self.write(self.tls.close())
        self.die()

    def die(self) -> None:
        """Close TCP without closing TLS, like the kernel after the end of a killed process."""
        self.freeze()
        self._socket.close()

    def vanish(self) -> None:
        """Leave the network: the kernel drops all input (socket(7), SO_ATTACH_FILTER), and acknowledges nothing."""
        self.freeze()
        program = ctypes.create_string_buffer(_DROP_ALL, len(_DROP_ALL))
        pointed = struct.pack("HP", 1, ctypes.addressof(program))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointed)

    def reset(self) -> None:
        """Let TCP send a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.die()

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.lost:
            try:
                octets = await loop.sock_recv(self._socket, 65_536)
                if not octets:
                    self.lost = "eof"
                    return
                answer = self.tls.step(octets)
                received = self.tls.take()
                if received:
                    back = self.grpc.step(received)
                    answer += self.tls.send(back) if back and not self.tls.closed else b""
                await loop.sock_sendall(self._socket, answer)
            except OSError as exc:
                self.lost = type(exc).__name__


class GatewayBench:
    """The listener, its double of a fleet, and clients."""

    def __init__(
        self, listener: GatewayListener, sessions: RecordingSessions, clock: ManualClock, engine: TlsEngine
    ) -> None:
        self.listener = listener
        self.sessions = sessions
        self.clock = clock
        self.engine = engine
        self._clients: list[RawGateway] = []

    @property
    def port(self) -> int:
        """Port of the listener."""
        return int(self.listener.address.rpartition(":")[2])

    @property
    def connections(self) -> int:
        """Number of connections."""
        return len(self.listener._connections)

    def client(
        self,
        holder: Holder | None = GATEWAY,
        *,
        tls: TlsClient | None = None,
        reads: bool = True,
        receive_buffer: int = 0,
        **options: Any,
    ) -> RawGateway:
        """Create a client; keywords are those of `TlsClient`."""
        made = RawGateway(
            ("127.0.0.1", self.port),
            tls or TlsClient(holder, **options),
            GrpcClient(reads=reads),
            receive_buffer=receive_buffer,
        )
        self._clients.append(made)
        return made

    async def session(self, count: int = 1) -> Opened:
        """Wait for a number of sessions, and return the last one."""
        await until(lambda: len(self.sessions.sessions) >= count)
        return self.sessions.sessions[-1]

    async def end(self, session: Opened) -> tuple[GatewayReason, str]:
        """Wait for the only end of a session."""
        await until(lambda: bool(session.ended))
        (end,) = session.ended
        return end

    async def rejection(self) -> tuple[GatewayRejectedReason, dict[str, Any]]:
        """Wait for the only rejection."""
        await until(lambda: bool(self.sessions.rejections))
        (rejection,) = self.sessions.rejections
        assert self.sessions.sessions == []
        return rejection

    async def wait(self, seconds: float, done: Callable[[], bool]) -> float:
        """Advance the clock in small steps until a condition holds; return the advanced seconds."""
        moved = 0.0
        while not done():
            assert moved < seconds, f"not within {seconds} s"
            await self.clock.advance(0.25)
            moved += 0.25
            for _ in range(20):  # transmission over a socket takes real time
                if done():
                    break
                await asyncio.sleep(0.001)
        return moved

    def close(self) -> None:
        """Close the clients' sockets."""
        for client in self._clients:
            client.die()


def make_engine(clock: ManualClock, shown: Sequence[Holder] = (SERVER,)) -> TlsEngine:
    """Create the listener's TLS engine."""
    return TlsEngine(
        [Identity(each.key_pem, each.chain_pem) for each in shown],
        ROOT.pem + COLLECTION.pem,
        unix_time=lambda: clock.time_ns() // 1_000_000_000,
    )


@asynccontextmanager
async def gateway_bench(**settings: Any) -> AsyncIterator[GatewayBench]:
    """Start the listener on a free port; keywords are settings."""
    clock = ManualClock(time.time_ns())  # real clients know what day it is
    engine, sessions = make_engine(clock), RecordingSessions()
    listener = GatewayListener(
        GatewaysConfig(**({"port": 0, "linger": 0.2} | settings)),
        sessions=sessions,  # type: ignore[arg-type]  # a double
        engine=engine,
        identification=sessions,  # type: ignore[arg-type]  # likewise
        clock=clock,
        refused=RefusedAccepts(clock),
    )
    await listener.start()
    running = asyncio.get_running_loop().create_task(listener.run())
    bench = GatewayBench(listener, sessions, clock, engine)
    try:
        yield bench
    finally:
        bench.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await listener.stop()
    assert bench.connections == 0
    assert listener.defects == 0 or sessions.fails
