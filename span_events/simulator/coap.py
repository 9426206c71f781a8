"""A CoAP client like those of constrained devices: one exchange at a time, retransmission, tokens (RFC 7252 §4)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from span_events.errors import MalformedMessage
from span_events.simulator.sockets import Address, DeviceSocket
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, decode, encode

TOKEN_OCTETS: Final = 4


@dataclass(frozen=True, slots=True)
class Timing:
    """Retransmission parameters of confirmable messages (RFC 7252 §4.8). Seconds."""

    ack_timeout: float = 2.0
    ack_random_factor: float = 1.5
    max_retransmit: int = 4


@dataclass(slots=True)
class _Exchange:
    message_id: int
    token: bytes
    reply: asyncio.Future[CoapMessage | None]
    acknowledged: asyncio.Event


class CoapClient:
    """
    One device's CoAP endpoint.

    Args:
        address: IP address of the device.
        target: Address of the server.
        timing: Retransmission parameters.
    """

    def __init__(self, address: str, target: Address, *, timing: Timing | None = None) -> None:
        self._timing = timing or Timing()
        self.socket = DeviceSocket(address, target, self._received)
        self.retransmissions = 0
        """Number of retransmissions."""
        self._message_id = random.randrange(1 << 16)
        self._exchange: _Exchange | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the socket; idempotent. A running exchange ends without a reply."""
        self.socket.close()
        if self._exchange is not None and not self._exchange.reply.done():
            self._exchange.reply.set_result(None)

    def request(
        self,
        code: int,
        path: str,
        payload: bytes = b"",
        *,
        options: Iterable[tuple[int, bytes]] = (),
        confirmable: bool = True,
    ) -> CoapMessage:
        """Create a request with the next message id and a new token, for `exchange`."""
        self._message_id = (self._message_id + 1) & 0xFFFF
        return CoapMessage(
            Type.CON if confirmable else Type.NON,
            code,
            self._message_id,
            random.randbytes(TOKEN_OCTETS),
            _in_order([*path_options(path), *options]),
            payload,
        )

    async def post(self, path: str, payload: bytes, *, options: Iterable[tuple[int, bytes]] = ()) -> CoapMessage | None:
        """Send a message and wait for the reply; None without a reply, or after a reset."""
        return await self.exchange(self.request(Code.POST, path, payload, options=options))

    async def exchange(self, request: CoapMessage) -> CoapMessage | None:
        """
        Send and retransmit a request until its reply or a reset arrives.

        Cancelling forgets the exchange; a confirmable reply that arrives later gets a reset.

        Returns:
            The reply; None after a reset, or when all retransmissions stayed unanswered.
        """
        assert self._exchange is None, "a device has one exchange at a time (NSTART, RFC 7252 §4.7)"
        reply: asyncio.Future[CoapMessage | None] = asyncio.get_running_loop().create_future()
        self._exchange = _Exchange(request.message_id, request.token, reply, asyncio.Event())
        timeout = self._timing.ack_timeout * random.uniform(1.0, self._timing.ack_random_factor)
        sends = self._timing.max_retransmit + 1 if request.type is Type.CON else 1
        try:
            for attempt in range(sends):
                if attempt:
                    self.retransmissions += 1
                # An acknowledged request is never retransmitted; a separate response follows (§5.2.2).
                if not self._exchange.acknowledged.is_set():
                    self.socket.send(encode(request))
                await asyncio.wait((reply,), timeout=timeout * (1 << attempt))
                if reply.done():
                    return reply.result()
            return None
        finally:
            self._exchange = None

    def _received(self, datagram: bytes) -> None:
        try:
            message = decode(datagram)
        except MalformedMessage:
            return None
        exchange = self._exchange
        if exchange is None or exchange.reply.done():
            ours = False
        elif message.type in (Type.ACK, Type.RST) and message.message_id != exchange.message_id:
            return None
        elif message.type is Type.RST:
            return exchange.reply.set_result(None)
        elif message.type is Type.ACK and message.code == Code.EMPTY:
            return exchange.acknowledged.set()
        else:
            ours = message.token == exchange.token and message.code != Code.EMPTY
            if ours:
                exchange.reply.set_result(message)
        if message.type is Type.CON:  # acknowledge the separate response, reset all others
            self.socket.send(encode(CoapMessage(Type.ACK if ours else Type.RST, Code.EMPTY, message.message_id)))
        return None


def path_options(path: str) -> Options:
    """Split a path into Uri-Path options."""
    return tuple((int(Option.URI_PATH), each.encode()) for each in path.split("/") if each)


def _in_order(options: list[tuple[int, bytes]]) -> Options:
    return tuple(sorted(options, key=lambda each: each[0]))
