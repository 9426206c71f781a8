"""Replies: sends the answers of one endpoint, at once or when they are ready, and repeats them if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from span_events.clock import Clock
from span_events.listeners.coap.answer import Answer
from span_events.listeners.coap.peer import Peer
from span_events.wire.coap.engine import Delayed, MessageLayer, Stage, empty
from span_events.wire.coap.messages import CoapMessage, Options, Type
from span_events.wire.coap.requests import is_unwanted, read_options

Send = Callable[[bytes, Any], None]
"""Sends a datagram to an address; raises OSError if the network refuses it."""
Sent = Callable[[Peer, Answer, OSError | None], None]
"""Called after an answer was sent, with the error of the network if there was one."""


class Replies:
    """
    The shell of the message layer: it owns the timer and the tasks that wait for answers.

    Args:
        send: Sends a datagram.
        sent: Called for each answer that takes a downstream message along.
    """

    def __init__(self, *, clock: Clock, send: Send, sent: Sent) -> None:
        self._clock = clock
        self._send = send
        self._sent = sent
        self._messages: MessageLayer[Peer] = MessageLayer()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.sent = 0
        """Datagrams that were sent."""
        self.unsent = 0
        """Datagrams that the network refused."""

    def answer(self, peer: Peer, answer: Answer) -> None:
        """Send an answer that is ready; a CON's exchange remembers it."""
        if peer.options.unwanted and is_unwanted(peer.options, answer.code):
            octets = _instead_of_response(peer.request)
        else:
            octets = self._messages.reply(peer.request, answer.code, answer.payload, answer.options)
        self._finish(peer, answer, octets)

    def answer_later(self, peer: Peer, answer: Awaitable[Answer]) -> None:
        """Wait for an answer and send it; its client gets an empty ACK if that takes long."""
        delayed = self._messages.delay(peer, peer.request, self._clock.monotonic())
        self._arm()
        task = asyncio.get_running_loop().create_task(self._wait(delayed, answer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def renew(self, peer: Peer) -> None:
        """Give up a request that waits for its answer if its client uses the token anew."""
        self._messages.renew(peer, peer.request.token)

    def refuse(self, request: CoapMessage, address: Hashable, code: int, payload: bytes, options: Options = ()) -> None:
        """Answer a request that nothing remembers."""
        if is_unwanted(read_options(request), code):
            octets = _instead_of_response(request)
        else:
            octets = self._messages.reply(request, code, payload, options)
        if octets:
            self.transmit(octets, address)

    def settle(self, message: CoapMessage, address: Hashable) -> bool:
        """Take an ACK or a RST; return whether it belongs to an answer that was sent."""
        settled = self._messages.settle(address, message.message_id, self._clock.monotonic())
        if settled:
            self._transmit_due()
        return settled

    def reset(self, message_id: int, address: Hashable) -> None:
        """Reject a message with a RST."""
        self.transmit(empty(Type.RST, message_id), address)

    def transmit(self, octets: bytes, address: Hashable) -> OSError | None:
        """Send and count a datagram; return the error of the network, for nothing may raise into the loop."""
        try:
            self._send(octets, address)
        except OSError as exc:
            self.unsent += 1
            return exc
        self.sent += 1
        return None

    def forget_peer(self, address: Hashable) -> None:
        """Give up the answers to an address that will never send again."""
        self._messages.forget(address)

    async def close(self) -> None:
        """Give up the answers that are not ready or not acknowledged; idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, delayed: Delayed[Peer], later: Awaitable[Answer]) -> None:
        answer = await later
        peer = delayed.peer
        if is_unwanted(peer.options, answer.code):
            octets = self._messages.withhold(delayed)
        else:
            octets = self._messages.respond(
                delayed, answer.code, answer.payload, answer.options, self._clock.monotonic()
            )
        if octets is not None:
            self._finish(peer, answer, octets)
        elif answer.downstream is not None and delayed.stage is not Stage.CLOSED:
            self._sent(peer, answer, None)  # in a separate response, which is repeated until it is acknowledged
        self._transmit_due()

    def _finish(self, peer: Peer, answer: Answer, octets: bytes) -> None:
        if not octets:
            return
        if peer.exchange is not None and peer.request.type is Type.CON:  # copies of a NON get no answer
            peer.exchange.reply = octets
        failure = self.transmit(octets, peer.address)
        if answer.downstream is not None:
            self._sent(peer, answer, failure)

    def _transmit_due(self) -> None:
        for outgoing in self._messages.datagrams(self._clock.monotonic()):
            if outgoing.is_ack and outgoing.peer.exchange is not None:
                outgoing.peer.exchange.reply = outgoing.octets
            self.transmit(outgoing.octets, outgoing.peer.address)
        self._arm()

    def _arm(self) -> None:
        """Set the timer to the deadline of the message layer."""
        deadline = self._messages.deadline()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            seconds = max(0.0, deadline - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transmit_due)


def _instead_of_response(request: CoapMessage) -> bytes:
    """Return what a client gets in place of a response that it does not want: an empty ACK, or nothing."""
    return empty(Type.ACK, request.message_id) if request.type is Type.CON else b""
