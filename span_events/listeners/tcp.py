"""
TCP connections, with and without TLS, that read only as much as the caller asks for.

asyncio's own TLS withholds two things that developers need: the fatal alert that gives a client the reason of a refusal
(asyncio resets the connection), and the cause of a handshake that failed on our side.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
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

    async def read(self, size: int) -> bytes:
        """
        Return the next octets, at most ``size``; empty at the end of the stream.

        Raises:
            OSError: The connection broke.
        """
        return await self._loop.sock_recv(self._socket, size)

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


class TlsStream(TcpStream):
    """A TCP connection with TLS; call `shake_hands` first."""

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(accepted)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.begin = b""
        """The first octets of the client, as they came in one read."""

    @property
    def peer_certificate(self) -> bytes | None:
        """The client's certificate, DER; its private key is proven."""
        return self._tls.getpeercert(binary_form=True)

    async def shake_hands(self) -> None:
        """
        Do the handshake.

        Raises:
            ssl.SSLError: The handshake failed; a fatal alert was sent.
            OSError: The connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._exchange()
            except ssl.SSLError:
                with suppress(OSError):
                    await self._flush()
                raise
            else:
                return await self._flush()

    async def read(self, size: int) -> bytes:
        """Return the next octets; empty at the end, with or without a close_notify."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                await self._exchange()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    async def write(self, octets: bytes) -> None:
        """Encrypt and send octets; a few KiB at most, since all are kept in memory until they are sent."""
        self._tls.write(octets)
        await self._flush()

    async def end(self) -> None:
        """Close the sending direction: close_notify, then FIN."""
        with suppress(ssl.SSLError):  # the client's close_notify is not awaited
            self._tls.unwrap()
        await self._flush()
        await super().end()

    async def _exchange(self) -> None:
        """Send the pending records, and pass the received octets to TLS."""
        await self._flush()
        octets = await self._loop.sock_recv(self._socket, _BLOCK)
        if octets:
            self.begin = self.begin or octets
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._socket, self._outgoing.read())
