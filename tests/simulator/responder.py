"""A small UDP server for the simulator: it records datagrams and sends prepared replies."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from span_events.simulator.sockets import Address
from span_events.wire.coap.blocks import Block, read_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Type, decode, encode, option_of
from tests.bench.waiting import PATIENCE

Answer = Callable[[bytes], Iterable[bytes]]


class Responder:
    """Answers each datagram; use it as a context manager within a running loop."""

    def __init__(self, answer: Answer = lambda _: ()) -> None:
        self.answer = answer
        self.received: list[tuple[bytes, Address]] = []
        """Every datagram so far, with its source address."""
        self._arrivals: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(("127.0.0.1", 0))
        self.address: Address = self._socket.getsockname()

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._socket, self._read)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    async def next(self) -> tuple[bytes, Address]:
        """Return the next datagram and its sender."""
        async with asyncio.timeout(PATIENCE):
            return await self._arrivals.get()

    def _read(self) -> None:
        while True:
            try:
                datagram, remote = self._socket.recvfrom(65_535)
            except BlockingIOError:
                return
            self.received.append((datagram, remote))
            self._arrivals.put_nowait((datagram, remote))
            for each in self.answer(datagram):
                self._socket.sendto(each, remote)


def piggybacked(code: int = Code.CREATED, payload: bytes = b"") -> Answer:
    """Answer every CON with one code, in its acknowledgement."""

    def answer(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram)
        if request.type is Type.CON:
            yield encode(CoapMessage(Type.ACK, code, request.message_id, request.token, payload=payload))

    return answer


def block_of(datagram: bytes) -> Block:
    """Read the Block1 option of a request."""
    value = option_of(decode(datagram), Option.BLOCK1)
    assert value is not None
    return read_block(value)
