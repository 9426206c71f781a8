"""An MQTT client written from the standards alone, which reads only when asked to."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.bench.waiting import PATIENCE


@dataclass(frozen=True, slots=True)
class Received:
    """A packet of the server."""

    kind: int
    """The first octet."""
    body: bytes

    @property
    def topic(self) -> str:
        """Topic of a PUBLISH."""
        assert self.kind == 0x30, self
        return self.body[2 : 2 + int.from_bytes(self.body[:2], "big")].decode()


def text(value: str) -> bytes:
    """Write a text with its length."""
    octets = value.encode()
    return len(octets).to_bytes(2, "big") + octets


def packet(first: int, body: bytes) -> bytes:
    """Write a packet."""
    length, octets = len(body), bytearray((first,))
    while True:
        length, low = divmod(length, 128)
        octets.append(low | (0x80 if length else 0))
        if not length:
            return bytes(octets) + body


def connect_packet(
    user: str | None,
    password: str | None,
    *,
    level: int,
    client_id: str = "c",
    keep_alive: int = 0,
    properties: bytes = b"",
    flags: int = 2,
    will: bytes = b"",
) -> bytes:
    """Write a CONNECT packet."""
    flags |= (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    body = text("MQTT") + bytes((level, flags)) + keep_alive.to_bytes(2, "big")
    if level == 5:
        body += bytes((len(properties),)) + properties
    body += text(client_id) + will
    return packet(0x10, body + b"".join(text(each) for each in (user, password) if each is not None))


class Client:
    """
    A client, connected over TCP.

    Args:
        address: ``host:port``.
        level: 4 for MQTT 3.1.1, 5 for MQTT 5.
        receive_buffer: Octets of the kernel's receive buffer, small for one that stops reading.
    """

    def __init__(self, address: str, *, level: int = 5, receive_buffer: int | None = None, **options: Any) -> None:
        self._address = address
        self._receive_buffer = receive_buffer
        self._options = options
        self.level = level
        self._reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        opened = socket.socket()
        if self._receive_buffer is not None:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, (host, int(port)))
        self._reader, self.writer = await asyncio.open_connection(sock=opened, **self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    def send(self, octets: bytes) -> None:
        """Send octets."""
        self.writer.write(octets)

    async def receive(self) -> Received:
        """Return the next packet of the server."""
        async with asyncio.timeout(PATIENCE):
            (first,) = await self._reader.readexactly(1)
            length = shift = 0
            while True:
                (octet,) = await self._reader.readexactly(1)
                length |= (octet & 127) << shift
                shift += 7
                if octet < 128:
                    return Received(first, await self._reader.readexactly(length))

    async def connect(self, user: str | None = "*", password: str | None = "", **options: Any) -> int:
        """Connect, and return the reason or return code."""
        self.send(connect_packet(user, password, level=self.level, **options))
        answer = await self.receive()
        assert answer.kind == 0x20, answer
        return answer.body[1]

    async def subscribe(self, *filters: str, identifier: int = 7) -> list[int]:
        """Subscribe, and return a code for each filter."""
        body = identifier.to_bytes(2, "big") + (b"\0" if self.level == 5 else b"")
        self.send(packet(0x82, body + b"".join(text(each) + b"\1" for each in filters)))
        return list((await self.acknowledged(0x90, identifier))[-len(filters) :])

    async def unsubscribe(self, *filters: str, identifier: int = 8) -> list[int]:
        """Unsubscribe, and return a code for each filter, which only MQTT 5 has."""
        body = identifier.to_bytes(2, "big") + (b"\0" if self.level == 5 else b"")
        self.send(packet(0xA2, body + b"".join(text(each) for each in filters)))
        codes = await self.acknowledged(0xB0, identifier)
        return list(codes[-len(filters) :]) if self.level == 5 else []

    async def acknowledged(self, kind: int, identifier: int) -> bytes:
        """Return the body of an answer behind its identifier."""
        answer = await self.receive()
        assert answer.kind == kind, answer
        assert int.from_bytes(answer.body[:2], "big") == identifier
        return answer.body[2:]

    async def publication(self) -> tuple[str, dict[str, Any]]:
        """Return topic and JSON of the next PUBLISH."""
        received = await self.receive()
        begin = 2 + len(received.topic.encode())
        if self.level == 5:
            assert received.body[begin] == 0, "no properties"
            begin += 1
        return received.topic, json.loads(received.body[begin:])

    async def ping(self) -> None:
        """Make sure that nothing but the answer to a ping comes next."""
        self.send(b"\xc0\0")
        assert await self.receive() == Received(0xD0, b"")

    async def end(self) -> int | None:
        """Return the reason of the server's DISCONNECT, or None if the connection ends without."""
        try:
            answer = await self.receive()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        assert answer.kind == 0xE0, answer
        async with asyncio.timeout(PATIENCE):
            assert await self._reader.read() == b""
        return answer.body[0]
