"""
TLS on asyncio: a transport over `wire/tls` for listeners that act on events, and a stream for those that read.

asyncio's own TLS withholds two things that developers need: the fatal alert that gives a client the reason of a refusal
(asyncio resets the connection), and the cause of a handshake that failed on our side.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Sequence
from typing import Any, Final, Protocol, cast

from span_events.listeners.tcp import TcpStream
from span_events.wire.tls.connections import Closed, Data, Established, Event, Failed
from span_events.wire.tls.openssl import TlsConnection, TlsEngine

BLOCK: Final = 65_536
"""Octets of one read from a socket."""
_BEGIN: Final = 512
"""Octets kept of a client's first read."""


class TlsUser(Protocol):
    """The protocol above a TLS connection. An exception is a defect of ours, and leads to `failed`."""

    def connected(self, transport: TlsTransport) -> None:
        """Take a connection whose TCP is established; abort it to refuse it before TLS."""

    def received(self, events: Sequence[Event], count: int) -> None:
        """
        Process the events of received octets, then call `TlsTransport.flush`.

        Args:
            count: Number of encrypted octets.
        """

    def ended(self) -> bool:
        """Note that the client closed its direction of TCP; return True to keep ours open."""

    def lost(self, error: Exception | None) -> None:
        """Note that the socket is closed; called once, last."""

    def blocked(self) -> None:
        """Note that the kernel's buffer is full."""

    def writable(self) -> None:
        """Continue after the kernel has taken all octets."""

    def failed(self) -> None:
        """Contain a defect of ours; called in an ``except`` clause."""


class TlsTransport(asyncio.BufferedProtocol):
    """
    One connection of a TLS server.

    Args:
        buffer: Receive buffer; connections share it, as it is free again after each call of `buffer_updated`.
    """

    __slots__ = ("_buffer", "_engine", "_is_over", "_tls", "_transport", "_user", "begin", "peer")

    def __init__(self, engine: TlsEngine, buffer: memoryview, user: TlsUser) -> None:
        self._engine = engine
        self._buffer = buffer
        self._user = user
        self._tls: TlsConnection
        self._transport: asyncio.Transport
        self._is_over = False  # for TLS: input is dropped
        self.begin = b""
        """The first octets of the client, as they came in one read."""
        self.peer: Any = None
        """Address of the client."""

    # ---- calls by asyncio ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Pass the connection to its user."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)  # a pause then means that the kernel's buffer is full
        self.peer = transport.get_extra_info("peername")
        self._user.connected(self)
        if not self.is_closing:
            self._tls = self._engine.accept()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the buffer that connections share."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt received octets."""
        if self._is_over:
            return
        if not self.begin:
            self.begin = bytes(self._buffer[: min(nbytes, _BEGIN)])
        try:
            events = self._tls.feed(self._buffer[:nbytes])
            if events and isinstance(events[-1], Closed | Failed):
                self._is_over = True
            self._user.received(events, nbytes)
        except Exception:
            self._user.failed()

    def eof_received(self) -> bool:
        """Pass the end of the input on."""
        try:
            return self._user.ended()
        except Exception:
            self._user.failed()
            return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss of the socket on."""
        self._is_over = True
        self._user.lost(exc)

    def pause_writing(self) -> None:
        """Note that the kernel's buffer is full."""
        self._user.blocked()

    def resume_writing(self) -> None:
        """Continue after the kernel has taken all octets."""
        self._user.writable()

    # ---- calls by the user --------------------------------------------------------------------

    @property
    def is_closing(self) -> bool:
        """True when nothing can be sent any more."""
        return self._transport.is_closing()

    @property
    def is_reading(self) -> bool:
        """True unless reading is paused."""
        return self._transport.is_reading()

    @property
    def has_answered(self) -> bool:
        """True once the client may have received the server's certificate."""
        return self._tls.has_answered

    @property
    def unsent(self) -> int:
        """Octets that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    @property
    def fills(self) -> int:
        """Octets of a read that fills the buffer; uvloop then reads on, before it serves other sockets."""
        return len(self._buffer)

    def pause_reading(self) -> None:
        """Stop reading; idempotent."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Continue reading; idempotent."""
        self._transport.resume_reading()

    def send(self, payload: bytes) -> None:
        """Encrypt and send octets; only after the handshake."""
        if payload:
            self._tls.send(payload)
        self.flush()

    def flush(self) -> None:
        """Send what the handshake has to say."""
        encrypted = self._tls.take()
        if encrypted and not self._transport.is_closing():
            self._transport.write(encrypted)

    def close(self) -> None:
        """Close our direction in order, TLS then TCP, and drop all input: unread input would cause a reset."""
        self._is_over = True
        self._tls.close()
        self.flush()
        if not self._transport.is_closing():
            with contextlib.suppress(OSError):  # the socket is closed, and `connection_lost` follows
                self._transport.write_eof()
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close the socket at once."""
        self._is_over = True
        self._transport.abort()


class TlsStream(TcpStream):
    """A TCP connection with TLS; call `shake_hands` first."""

    def __init__(self, accepted: socket.socket, engine: TlsEngine, buffer: memoryview) -> None:
        super().__init__(accepted)
        self._transport = TlsTransport(engine, buffer, self)
        self._input = bytearray()
        self._changed = asyncio.Event()
        self._is_writable = True
        self._has_ended = False  # in the client's direction
        self._error: Exception | None = None
        self._result: Established | Failed | None = None

    @property
    def begin(self) -> bytes:
        """The first octets of the client, as they came in one read; empty before."""
        return self._transport.begin

    @property
    def has_answered(self) -> bool:
        """True if the client may have received the server's certificate."""
        return self._transport.has_answered

    # ---- calls by the listener ----------------------------------------------------------------

    async def shake_hands(self) -> Established | Failed | None:
        """
        Do the handshake; None if the client closed the connection.

        Raises:
            OSError: The connection broke.
        """
        await self._loop.connect_accepted_socket(lambda: self._transport, self._socket)
        while self._result is None and not self._has_ended:
            await self._wait()
        return self._result

    async def read(self, size: int) -> bytes:
        """Return the next octets; empty at the end, with or without a close_notify."""
        while not self._input and not self._has_ended:
            self._transport.resume_reading()
            await self._wait()
        octets = bytes(self._input[:size])
        self.octets += len(octets)
        del self._input[:size]
        return octets

    async def write(self, octets: bytes) -> None:
        """Encrypt and send octets; a few KiB at most, since all are kept in memory until they are sent."""
        self._transport.send(octets)
        while not self._is_writable:
            await self._wait()

    async def end(self) -> None:
        """Close the sending direction: close_notify, then FIN."""
        self._transport.close()
        while not self._is_writable:
            await self._wait()

    async def linger(self, seconds: float) -> None:
        """Discard input until the other side closes the connection, or for ``seconds``."""
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(seconds):
                while not self._has_ended:
                    await self._wait()

    def close(self) -> None:
        """Release the socket; harmless when repeated."""
        self._transport.abort()
        super().close()

    # ---- calls by the transport (`TlsUser`) ---------------------------------------------------

    def connected(self, transport: TlsTransport) -> None:
        """Wait for the client."""

    def received(self, events: Sequence[Event], count: int) -> None:
        """Keep the octets until they are read; no more are received meanwhile."""
        for event in events:
            if isinstance(event, Data):
                self._input += event.payload
            elif isinstance(event, Closed):
                self._has_ended = True
            else:
                self._result = event
        self._transport.flush()
        if self._input:
            self._transport.pause_reading()
        self._changed.set()

    def ended(self) -> bool:
        """Note the end of the input; the reply is still to be sent."""
        self._has_ended = True
        self._changed.set()
        return True

    def lost(self, error: Exception | None) -> None:
        """Note the loss of the socket."""
        self._error = error
        self._has_ended = self._is_writable = True
        self._changed.set()

    def blocked(self) -> None:
        """Let writers wait."""
        self._is_writable = False

    def writable(self) -> None:
        """Let writers continue."""
        self._is_writable = True
        self._changed.set()

    def failed(self) -> None:
        """Contain a defect of ours."""
        raise  # noqa: PLE0704  # asyncio logs it, and closes the connection

    # ---- parts --------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Wait for the next change; raises the error with which the connection broke."""
        if self._error is not None:
            raise self._error
        self._changed.clear()
        await self._changed.wait()
        if self._error is not None:
            raise self._error
