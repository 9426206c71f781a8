"""The protocol of all listeners, and the base class of listeners on UDP sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final, Protocol

from span_events.listeners.udp import UdpSocket
from span_events.log import get_logger
from span_events.metrics import Measure
from span_events.net import render_remote

log = get_logger("listeners")

_LOOK: Final = 60.0
"""Seconds between two looks at the datagrams that the kernel has dropped."""


class Listener(Protocol):
    """A listener, to which devices connect or send."""

    @property
    def name(self) -> str:
        """Name in the log, table of the configuration, name of the task."""

    @property
    def address(self) -> str:
        """Bound ``host:port``; only after `start`."""

    def metrics(self) -> Sequence[Measure]:
        """Return the metrics; each limit of the configuration has a gauge."""

    async def start(self) -> None:
        """
        Bind the sockets.

        Raises:
            ListenerUnavailable: The address cannot be bound.
        """

    async def run(self) -> None:
        """Serve until cancelled; ends with an error when a socket is lost."""

    async def stop(self) -> None:
        """End all sessions, and release the sockets; harmless when repeated."""


class UdpListener:
    """
    A listener on one or several UDP sockets.

    Args:
        socket: The socket whose address `address` returns.
    """

    name: ClassVar[str]

    def __init__(self, socket: UdpSocket, *others: UdpSocket) -> None:
        self._socket = socket
        self._sockets = (socket, *others)
        self._seen = 0  # of `overflowed`

    @property
    def address(self) -> str:
        """Bound ``host:port``."""
        return render_remote(self._socket.address)

    @property
    def received(self) -> int:
        """Number of datagrams read from the kernel."""
        return sum(each.received for each in self._sockets)

    @property
    def octets(self) -> int:
        """Octets of these datagrams."""
        return sum(each.octets for each in self._sockets)

    @property
    def overflowed(self) -> int:
        """Number of datagrams that the kernel dropped, because a receive buffer was full."""
        return sum(each.overflowed for each in self._sockets)

    @property
    def defects(self) -> int:
        """Number of datagrams whose handling failed by a defect in this program."""
        return sum(each.defects for each in self._sockets)

    async def start(self) -> None:
        """Bind all sockets or none; raises `ListenerUnavailable`."""
        try:
            for each in self._sockets:
                each.open()
        except BaseException:
            await UdpListener.stop(self)
            raise

    async def run(self) -> None:
        """Serve until cancelled; ends with an error when a socket is lost."""
        lost = [each.lost for each in self._sockets]
        done: set[asyncio.Future[None]] = set()
        while not done:
            done, _ = await asyncio.wait(lost, return_when=asyncio.FIRST_COMPLETED, timeout=_LOOK)
            self.look()
        await done.pop()

    def look(self) -> None:
        """Log the datagrams that the kernel has dropped since the last look; called once a minute."""
        seen, self._seen = self._seen, self.overflowed
        if self._seen > seen:
            log.warning(
                "datagrams_overflowed",
                listener=self.name,
                count=self._seen - seen,
                hint="More came than could be read: look for a flood, or raise receive_buffer and net.core.rmem_max.",
            )

    async def stop(self) -> None:
        """Release the sockets; idempotent."""
        for each in self._sockets:
            each.close()
