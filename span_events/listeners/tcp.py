"""TCP connections that read only as much as the caller asks for."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

_BLOCK: Final = 65_536
"""Octets of one read from a socket."""


class TcpStream:
    """
    A TCP connection.

    Args:
        accepted: The connection's socket, non-blocking.
    """

    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted
        self._loop = asyncio.get_running_loop()
        self.octets = 0
        """Octets read so far, without those of TLS."""

    async def read(self, size: int) -> bytes:
        """
        Return the next octets, at most ``size``; empty at the end of the stream.

        Raises:
            OSError: The connection broke.
        """
        octets = await self._loop.sock_recv(self._socket, size)
        self.octets += len(octets)
        return octets

    async def write(self, octets: bytes) -> None:
        """
        Send octets.

        Raises:
            OSError: The connection broke.
        """
        await self._loop.sock_sendall(self._socket, octets)

    async def end(self) -> None:
        """
        Close the sending direction (FIN).

        Raises:
            OSError: The connection broke.
        """
        self._socket.shutdown(socket.SHUT_WR)

    async def linger(self, seconds: float) -> None:
        """
        Discard input until the other side closes the connection, or for ``seconds``.

        Closing with unread input sends a reset, and the other side would lose the octets that it has not read yet.
        """
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(seconds):
                while await self._loop.sock_recv(self._socket, _BLOCK):
                    pass

    def close(self) -> None:
        """Release the socket; harmless when repeated."""
        self._socket.close()
