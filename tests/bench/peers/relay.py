"""The network between one client and the server, over UDP: it loses, repeats, delays and rebinds."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

Fate = Callable[[bytes], Sequence[float]]
"""Decides what becomes of a datagram: after how many seconds it arrives, once per copy; nothing if it is lost."""

_LARGEST: Final = 65_536
_ANY_PORT: Final = 0


def carry(datagram: bytes) -> Sequence[float]:
    """Let a datagram through."""
    return (0.0,)


def rough(seed: int, *, lost: float = 0.2, repeated: float = 0.05) -> Fate:
    """Lose and repeat by chance; the same seed decides the same."""
    chance = random.Random(seed)

    def decide(_: bytes) -> Sequence[float]:
        if chance.random() < lost:
            return ()
        return (0.0, 0.01) if chance.random() < repeated else (0.0,)

    return decide


class Relay:
    """
    A relay for one client; made where an event loop runs.

    Args:
        server: Where the server is, ``host:port``.
        host: The address that the server sees.
        there: What becomes of the client's datagrams.
        back: What becomes of the server's.
    """

    def __init__(self, server: str, host: str, *, there: Fate = carry, back: Fate = carry) -> None:
        self._server = _address(server)
        self._host = host
        self.there = there
        self.back = back
        self._loop = asyncio.get_running_loop()
        self._client: tuple[str, int] | None = None
        self._inside = self._open("127.0.0.1", self._carry_there)
        self._outside = self._open(host, self._carry_back)
        self.lost = 0
        """Datagrams that did not arrive."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close(self._inside)
        self._close(self._outside)

    @property
    def address(self) -> str:
        """Where the client believes the server to be."""
        return _text(self._inside)

    @property
    def remote(self) -> str:
        """Where the server believes the client to be."""
        return _text(self._outside)

    def rebind(self) -> None:
        """Go on from another port, as a NAT does that has forgotten the old one."""
        self._close(self._outside)
        self._outside = self._open(self._host, self._carry_back)

    def _carry_there(self) -> None:
        datagram, self._client = self._inside.recvfrom(_LARGEST)
        self._carry(datagram, self.there(datagram), lambda: self._outside, self._server)

    def _carry_back(self) -> None:
        datagram = self._outside.recv(_LARGEST)
        if self._client is not None:
            self._carry(datagram, self.back(datagram), lambda: self._inside, self._client)

    def _carry(
        self, datagram: bytes, delays: Sequence[float], by: Callable[[], socket.socket], to: tuple[str, int]
    ) -> None:
        self.lost += not delays
        for delay in delays:
            if delay:
                self._loop.call_later(delay, self._send, datagram, by, to)
            else:
                self._send(datagram, by, to)

    def _send(self, datagram: bytes, by: Callable[[], socket.socket], to: tuple[str, int]) -> None:
        if by().fileno() >= 0:  # not closed while the datagram was under way
            by().sendto(datagram, to)

    def _open(self, host: str, take: Callable[[], None]) -> socket.socket:
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind((host, _ANY_PORT))
        self._loop.add_reader(opened, take)
        return opened

    def _close(self, opened: socket.socket) -> None:
        self._loop.remove_reader(opened)
        opened.close()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def _text(bound: socket.socket) -> str:
    host, port = bound.getsockname()
    return f"{host}:{port}"
