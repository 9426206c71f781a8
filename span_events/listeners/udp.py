"""A UDP socket as the listeners use it: drained on each wake-up, and never a reason to fail."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Final

from span_events.log import get_logger
from span_events.net import bind

log = get_logger("listeners")

_LARGEST: Final = 65_535
"""A UDP datagram has at most that many octets (RFC 768: 16-bit length)."""
_PER_WAKE_UP: Final = 256
"""Datagrams taken before other work gets its turn."""
_MAPPED: Final = "::ffff:"
"""How an IPv6 socket reports an IPv4 sender (RFC 4291 §2.5.5.2)."""

Remote = tuple[str, int]
Receive = Callable[[bytes, Remote], None]


class UdpSocket:
    """
    A bound socket that hands over each datagram with its sender.

    Args:
        name: Listener that it belongs to, for messages.
        setting: As that of `bind`.
        receive: Called for each datagram. An exception is a defect of ours: it is logged (the
            first, then every thousandth) and counted, and the next datagram is taken.
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
        """Datagrams taken from the kernel."""
        self.defects = 0
        """Datagrams whose handling raised."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are bound."""
        assert self._socket is not None, "the socket is not open"
        host, port = self._socket.getsockname()[:2]
        return host, port

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done, with an error, when the socket is gone; only after `open`."""
        assert self._lost is not None, "the socket is not open"
        return self._lost

    def open(self) -> None:
        """
        Bind, and begin to receive.

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
        """Release the socket; twice does no harm."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def send(self, data: bytes, remote: Remote) -> None:
        """
        Send a datagram.

        Raises:
            BlockingIOError: The kernel's buffer is full; later may be better.
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
            try:
                self._receive(data, unmapped(*remote) if self._is_v6 else remote)
            except Exception:
                self._note_defect(remote)

    def _is_lost(self, error: OSError) -> bool:
        """Tell a socket that is gone, which ends the listener, from the echo (ICMP) of something that was sent."""
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
    """Return a sender as others know it: one that is mapped into IPv6 is an IPv4 address."""
    return (host.removeprefix(_MAPPED) if "." in host else host), port
