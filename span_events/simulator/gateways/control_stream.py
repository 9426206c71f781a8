"""Control stream of a simulated gateway over a socket: gRPC, HTTP/2, TLS, and ends that no library offers."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

from google.protobuf.message import DecodeError

from span_events import __version__
from span_events.errors import SpanEventsError
from span_events.proto.gateway_pb2 import ConfigRequest, ControlStreamRequest, ControlStreamResponse
from span_events.simulator.gateways.grpc_call import End, GrpcCall
from span_events.simulator.sockets import Address

PATH: Final = "/gateway.v1.UserGatewayService/ControlStream"
OPENING: Final = 10.0
"""Seconds that the server has to accept a gateway."""
MAX_WAITING: Final = 65_536
"""Octets that may wait for a server that does not read; beyond that, messages are lost."""
_GOODBYE: Final = 1.0
"""Seconds that the server has to close the connection in order."""
_AT_ONCE: Final = 65_536
_AGENT: Final = f"span-events-simulator/{__version__}"


class NotConnected(SpanEventsError):
    """A gateway could not open its control stream."""

    code = "not_connected"
    exit_status = 5

    def __init__(self, detail: str, *, hint: str, end: End | None = None) -> None:
        super().__init__(detail)
        self.hint = hint
        self.end = end
        """Status of the server, if the call got one."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files written by ``cert create``."""

    certificates_pem: bytes
    """``cert.crt``: the gateway's certificate and its chain, which are also its only trusted certificates."""
    key_pem: bytes = field(repr=False)
    """``key.pem``."""

    def context(self) -> ssl.SSLContext:
        """Return a TLS context with these credentials."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificates_pem.decode())
        context.set_alpn_protocols(["h2"])
        with tempfile.NamedTemporaryFile() as file:  # ssl reads keys from files only; the file is private
            file.write(self.key_pem + self.certificates_pem)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class ControlStream:
    """A control stream that the server has accepted; `open` returns one."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: GrpcCall) -> None:
        self._reader = reader
        self._writer = writer
        self._call = call
        self._received: deque[bytes] = deque()
        self._is_frozen = False
        self._is_over = asyncio.Event()
        self.used_at = asyncio.get_running_loop().time()
        """Time of the last message sent or received, seconds of the loop's clock."""

    @classmethod
    async def open(
        cls, target: Address, credentials: Credentials, *, server_name: str = "", patience: float = OPENING
    ) -> Self:
        """
        Connect, request the configuration, and wait until the server accepts the gateway.

        Args:
            server_name: Name in the server's certificate, if it is not the target's host.
            patience: Largest duration in seconds.

        Raises:
            NotConnected: The server rejects the gateway, or does not answer.
        """
        where = f"{target[0]}:{target[1]}"
        try:
            async with asyncio.timeout(patience):
                reader, writer = await asyncio.open_connection(
                    *target,
                    ssl=credentials.context(),
                    server_hostname=server_name or target[0],
                    ssl_shutdown_timeout=_GOODBYE,
                )
                stream = cls(reader, writer, GrpcCall(PATH, authority=where, agent=_AGENT))
                try:
                    await stream._enter()
                except BaseException:
                    stream.abort()
                    raise
        except TimeoutError as exc:
            hint = "Something listens there, but does it serve gateways?"
            raise NotConnected(f"{where} did not answer within {patience:g} s", hint=hint) from exc
        except ssl.SSLError as exc:
            hint = "The server must show a certificate of the gateway's own authority, for the host that it is called."
            why = exc.verify_message if isinstance(exc, ssl.SSLCertVerificationError) else exc.reason
            raise NotConnected(f"{where}: TLS failed: {why}", hint=hint) from exc
        except OSError as exc:
            hint = "Is the server running, with gateways.enabled? It prints its addresses at the start."
            why = os.strerror(exc.errno) if exc.errno is not None and exc.errno > 0 else str(exc)
            raise NotConnected(f"{where}: {why}", hint=hint) from exc
        if stream.end is not None:
            await stream.close()
            raise NotConnected(
                f"{where} says {stream.end}", hint="The event gatewayRejected says more.", end=stream.end
            )
        return stream

    @property
    def end(self) -> End | None:
        """Status of the ended stream; None while the stream is open."""
        return self._call.end

    async def responses(self) -> AsyncIterator[ControlStreamResponse]:
        """Yield the server's messages until the stream is over."""
        while True:
            while self._received:
                self._touch()
                try:
                    yield ControlStreamResponse.FromString(self._received.popleft())
                except DecodeError:
                    self._call.lose("the server sent something that is not a ControlStreamResponse")
            if self._is_over.is_set():
                return
            await self._fill()

    async def over(self) -> End:
        """Wait for the end, while another task takes the responses."""
        await self._is_over.wait()
        assert self.end is not None, "it is over"
        return self.end

    async def send(self, message: ControlStreamRequest) -> bool:
        """Send a message; False if the message is lost because the server does not read or the stream is over."""
        return await self.send_octets(message.SerializeToString())

    async def send_octets(self, payload: bytes) -> bool:
        """Send arbitrary octets as a message."""
        if self._is_frozen or self.end is not None or self._call.waiting > MAX_WAITING:
            return False
        self._call.send(payload)
        self._touch()
        self._flush()
        with suppress(OSError):  # the task that takes the responses sees the error too
            await self._writer.drain()
        return True

    async def close(self) -> None:
        """Close in order: half-close, wait for the server's status, close TLS; idempotent."""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                if not self._is_frozen:
                    self._call.half_close()
                    self._flush()
                while self.end is None:
                    await self._fill()
                self._writer.close()
                await self._writer.wait_closed()
        self.abort()

    def freeze(self) -> None:
        """Stop answering, but keep the socket open, like a program that hangs or a network that drops all packets."""
        self._is_frozen = True

    def reset(self) -> None:
        """Let TCP send a reset."""
        descriptor = self._writer.get_extra_info("socket").fileno()
        with (
            suppress(OSError),  # the socket is closed already
            socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as twin,  # some loops wrap their socket
        ):
            twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    def abort(self) -> None:
        """Close the socket at once; idempotent."""
        self._writer.transport.abort()
        self._lose("closed from this side")

    async def _enter(self) -> None:
        self._call.send(ControlStreamRequest(config=ConfigRequest()).SerializeToString())
        self._flush()
        while not self._call.is_accepted and self.end is None:
            await self._fill()

    async def _fill(self) -> None:
        """Wait for octets, and process them."""
        try:
            octets = await self._reader.read(_AT_ONCE)
        except OSError as exc:  # errors of TLS included
            return self._lose(str(exc))
        if not octets:
            return self._lose("the server closed the connection")
        if self._is_frozen:
            return None
        self._received += self._call.feed(octets)
        if self.end is not None:
            self._is_over.set()
        return self._flush()

    def _flush(self) -> None:
        octets = self._call.take()
        if octets and not self._writer.is_closing():  # uvloop refuses to write to a connection that was reset
            self._writer.write(octets)

    def _touch(self) -> None:
        self.used_at = asyncio.get_running_loop().time()

    def _lose(self, why: str) -> None:
        self._call.lose(why)
        self._is_over.set()
