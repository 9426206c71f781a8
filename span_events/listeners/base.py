"""The protocol of all listeners, and the base class of listeners on UDP sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Protocol

from span_events.listeners.udp import UdpSocket
from span_events.metrics import Measure
from span_events.net import render_remote


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
        done, _ = await asyncio.wait([each.lost for each in self._sockets], return_when=asyncio.FIRST_COMPLETED)
        await done.pop()

    async def stop(self) -> None:
        """Release the sockets; idempotent."""
        for each in self._sockets:
            each.close()
