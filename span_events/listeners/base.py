"""What all listeners share: their shape, and the sockets of those that speak UDP."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Protocol

from span_events.listeners.udp import UdpSocket
from span_events.metrics import Metric
from span_events.net import render_remote


class Listener(Protocol):
    """What devices speak to."""

    @property
    def name(self) -> str:
        """Log field, table of the configuration, name of the task."""

    @property
    def address(self) -> str:
        """``host:port`` of what is bound; only after `start`."""

    def metrics(self) -> list[Metric]:
        """List what is counted; each bound of the configuration has its gauge."""

    async def start(self) -> None:
        """
        Bind.

        Raises:
            ListenerUnavailable: The address cannot be bound.
        """

    async def run(self) -> None:
        """Serve until cancelled; ends with an error when a socket is lost."""

    async def stop(self) -> None:
        """End what is under way, and release the sockets; harmless when repeated."""


class UdpListener:
    """
    A listener over one UDP socket or several.

    Args:
        socket: The one that `address` shows.
    """

    name: ClassVar[str]

    def __init__(self, socket: UdpSocket, *others: UdpSocket) -> None:
        self._socket = socket
        self._sockets = (socket, *others)

    @property
    def address(self) -> str:
        """What is bound, ``host:port``."""
        return render_remote(self._socket.address)

    @property
    def received(self) -> int:
        """Datagrams taken from the kernel."""
        return sum(each.received for each in self._sockets)

    @property
    def defects(self) -> int:
        """Datagrams whose handling failed by a fault of ours."""
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
