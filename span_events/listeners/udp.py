"""A UDP socket of a listener: it is drained on each wake-up, and a failing datagram does not stop it."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Final

from span_events.log import get_logger
from span_events.net import bind

log = get_logger("listeners")

_LARGEST: Final = 65_535
"""Octets of a UDP datagram at most (RFC 768: 16-bit length)."""
_PER_WAKE_UP: Final = 256
"""Datagrams read before the event loop continues with other work."""
_BUDGET: Final = 0.01
"""Seconds after which it continues, too: 256 short datagrams take 8 ms, one of 65,000 octets may take over 1 ms."""
_SO_MEMINFO: Final = 55
"""Linux: the counters of a socket's memory, as 32-bit numbers (asm-generic/socket.h)."""
_MEMINFO: Final = struct.Struct("=9I")
"""Up to the number of datagrams that were dropped (SK_MEMINFO_DROPS, linux/sock_diag.h)."""
_MAPPED: Final = "::ffff:"
"""Prefix of an IPv4 sender's address on an IPv6 socket (RFC 4291 §2.5.5.2)."""

Remote = tuple[str, int]
Receive = Callable[[bytes, Remote], None]


class UdpSocket:
    """
    A bound socket that passes each datagram and its sender to a function.

    Args:
        name: Listener that owns the socket, for messages.
        setting: The same as for `bind`.
        receive: Called for each datagram. An exception is a defect in this program: it is logged (the
            first, then every thousandth) and counted, and the next datagram is read.
    """

    def __init__(
        self, name: str, host: str, port: int, *, receive_buffer: int, receive: Receive, setting: str = ""
    ) -> None:
        self._name = name
        self._wanted = (host, port)
        self._setting = setting
        self._receive_buffer = receive_buffer
        self._receive = receive
        self._socket: socket.socket | None = None
        self._is_v6 = False
        self._lost: asyncio.Future[None] | None = None
        self.received = 0
        """Number of datagrams read from the kernel."""
        self.octets = 0
        """Octets of these datagrams."""
        self.defects = 0
        """Number of datagrams whose handling raised an exception."""
        self._overflowed = 0

    @property
    def address(self) -> tuple[str, int]:
        """Bound host and port."""
        assert self._socket is not None, "the socket is not open"
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def overflowed(self) -> int:
        """Number of datagrams that the kernel dropped, because the receive buffer was full; 0 where it does not say."""
        if self._socket is not None:
            with suppress(OSError, struct.error):
                *_, self._overflowed = _MEMINFO.unpack(
                    self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
                )
        return self._overflowed

    @property
    def lost(self) -> asyncio.Future[None]:
        """Future that gets an exception when the socket is lost; only after `open`."""
        assert self._lost is not None, "the socket is not open"
        return self._lost

    def open(self) -> None:
        """
        Bind the socket, and start to receive.

        Raises:
            ListenerUnavailable: The address cannot be bound.
        """
        opened = bind(
            self._name,
            *self._wanted,
            socket.SOCK_DGRAM,
            receive_buffer=self._receive_buffer,
            setting=self._setting,
        )
        loop = asyncio.get_running_loop()
        self._socket = opened
        self._is_v6 = opened.family == socket.AF_INET6
        self._lost = loop.create_future()
        loop.add_reader(opened.fileno(), self._drain)

    def close(self) -> None:
        """Release the socket; harmless when repeated."""
        if self._socket is not None:
            self._overflowed = self.overflowed
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, remote: Remote) -> None:
        """
        Send a datagram.

        Raises:
            BlockingIOError: The kernel's buffer is full; a later attempt may succeed.
            OSError: The network refuses it.
        """
        assert self._socket is not None, "the socket is not open"
        host, port = remote
        if self._is_v6 and ":" not in host:
            host = _MAPPED + host
        self._socket.sendto(data, (host, port))

    def _drain(self) -> None:
        assert self._socket is not None
        recvfrom = self._socket.recvfrom
        began = perf_counter()
        for _ in range(_PER_WAKE_UP):
            try:
                data, remote = recvfrom(_LARGEST)
            except BlockingIOError:
                return
            except OSError as exc:
                if self._is_lost(exc):
                    return
                continue
            self.received += 1
            self.octets += len(data)
            try:
                self._receive(data, unmapped(*remote) if self._is_v6 else remote)
            except Exception:
                self._note_defect(remote)
            if perf_counter() - began > _BUDGET:
                return

    def _is_lost(self, error: OSError) -> bool:
        """Return whether an error means that the socket is lost; an ICMP error of a sent datagram does not."""
        if error.errno not in (errno.EBADF, errno.ENOTSOCK):
            log.debug("receive_failed", listener=self._name, error=str(error))
            return False
        if not self.lost.done():
            self.lost.set_exception(error)
        return True

    def _note_defect(self, remote: Remote) -> None:
        if self.defects % 1000 == 0:
            log.exception("datagram_defect", listener=self._name, remote=remote[0], so_far=self.defects)
        self.defects += 1


def unmapped(host: str, port: int, _flow: int = 0, _zone: int = 0) -> Remote:
    """Return the address of a sender; an IPv4 address that is mapped into IPv6 becomes plain IPv4."""
    return (host.removeprefix(_MAPPED) if "." in host else host), port
