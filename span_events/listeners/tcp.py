"""
TCP connections, with and without TLS: octets as they come, and nothing read ahead.

asyncio's own TLS keeps two things back that developers need: the alert that tells a client why it was refused (the
connection is just reset), and the cause of a handshake that failed on our side.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Final

_BLOCK: Final = 65_536
"""Octets that are asked of a socket at once."""


class TcpStream:
    """
    A connection.

    Args:
        accepted: Its socket, non-blocking.
    """

    def __init__(self, accepted: socket.socket) -> None:
        self._socket = accepted
        self._loop = asyncio.get_running_loop()

    async def read(self, size: int) -> bytes:
        """
        Return what comes next, at most so many octets; none at the end.

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
        Say that nothing more will be sent.

        Raises:
            OSError: The connection broke.
        """
        self._socket.shutdown(socket.SHUT_WR)

    async def linger(self, seconds: float) -> None:
        """
        Pass over what still comes, until the other side has ended, or for so long.

        Closing at once would answer that with a reset, which takes from the other side what it has not read yet.
        """
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(seconds):
                while await self._loop.sock_recv(self._socket, _BLOCK):
                    pass

    def close(self) -> None:
        """Release the socket; harmless when repeated."""
        self._socket.close()


class TlsStream(TcpStream):
    """A connection with TLS; `shake_hands` comes first."""

    def __init__(self, accepted: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(accepted)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self.heard = False
        """Whether the client has said anything."""

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the client has proven to have, DER."""
        return self._tls.getpeercert(binary_form=True)

    async def shake_hands(self) -> None:
        """
        Do the handshake.

        Raises:
            ssl.SSLError: It failed; the client was told so by an alert.
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
        """Return what comes next; none at the end, which the other side need not announce."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                await self._exchange()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    async def write(self, octets: bytes) -> None:
        """Encrypt and send octets; a few KiB, for all of them are kept until they are sent."""
        self._tls.write(octets)
        await self._flush()

    async def end(self) -> None:
        """Say that nothing more will be sent: close_notify, then the end of TCP."""
        with suppress(ssl.SSLError):  # the answer is not waited for
            self._tls.unwrap()
        await self._flush()
        await super().end()

    async def _exchange(self) -> None:
        """Send what TLS has to say, and give it what the other side says."""
        await self._flush()
        octets = await self._loop.sock_recv(self._socket, _BLOCK)
        if octets:
            self.heard = True
            self._incoming.write(octets)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._loop.sock_sendall(self._socket, self._outgoing.read())
