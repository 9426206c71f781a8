"""Sockets of attackers: raw octets to the HTTP port, or to another TCP port."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: close() sends a reset."""


async def connect(
    server: LiveServer,
    *,
    listener: str = "http",
    source: str = "",
    resets: bool = False,
    receive_buffer: int | None = None,
) -> socket.socket:
    """
    Connect to a TCP port.

    Args:
        listener: The port's listener.
        source: Address of the client, if it is to have another than 127.0.0.1.
        resets: True if the socket's end is a reset, without a FIN.
        receive_buffer: Octets of the kernel's receive buffer (SO_RCVBUF).
    """
    host, _, port = server.addresses[listener].rpartition(":")
    opened = socket.socket()
    if source:
        opened.bind((source, 0))
    if receive_buffer is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if resets:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    opened.setblocking(False)
    await asyncio.get_running_loop().sock_connect(opened, (host, int(port)))
    return opened


async def send(opened: socket.socket, octets: bytes) -> None:
    """Send octets, as far as the server takes them."""
    with suppress(ConnectionError):  # the server has cut the connection
        await asyncio.get_running_loop().sock_sendall(opened, octets)


async def receive(opened: socket.socket, until: bytes = b"") -> bytes:
    """Receive octets until some of them came, or until the end."""
    received = b""
    async with asyncio.timeout(PATIENCE):
        while not until or until not in received:
            try:
                octets = await asyncio.get_running_loop().sock_recv(opened, 1 << 16)
            except ConnectionError:
                break
            if not octets:
                break
            received += octets
    return received


def head_of(lines: Mapping[str, str]) -> bytes:
    """Write header lines, and the empty line after them."""
    return "".join(f"{name}: {text}\r\n" for name, text in lines.items()).encode() + b"\r\n"


def upgrade(server: LiveServer, path: str = "/span/activity", **headers: str) -> bytes:
    """Write a WebSocket handshake with the admin's token."""
    lines = {
        "Host": server.addresses["http"],
        "X-API-Token": server.token,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    } | {name.replace("_", "-"): text for name, text in headers.items()}
    return f"GET {path} HTTP/1.1\r\n".encode() + head_of(lines)


async def open_stream(server: LiveServer, path: str = "/span/activity", *, resets: bool = False) -> socket.socket:
    """Open a stream by hand."""
    opened = await connect(server, resets=resets)
    await send(opened, upgrade(server, path))
    assert (await receive(opened, b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    return opened
