"""
The glue to aiocoap: a message transport of our own under its message layer.

aiocoap (0.4.17) decides which type and message id a reply has, pairs it with its request, repeats
confirmable messages and matches what acknowledges or resets them. Octets, duplicates and sockets
are ours. It promises none of the names that this file touches: pyproject.toml pins its version, and
tests/listeners/coap/test_transport.py is the canary.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Final, Protocol

import aiocoap
from aiocoap.interfaces import MessageInterface
from aiocoap.message import Direction
from aiocoap.messagemanager import MessageManager
from aiocoap.numbers.codes import Code as AiocoapCode
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.optionnumbers import OptionNumber
from aiocoap.numbers.types import Type as AiocoapType
from aiocoap.pipe import Pipe
from aiocoap.tokenmanager import TokenManager

from span_events.fleet.devices.sessions import Session
from span_events.listeners.coap.exchanges import Exchange
from span_events.net import Remote, render_remote
from span_events.registry.model import Device
from span_events.wire.coap.messages import CoapMessage, Options

LOGGER: Final = "coap-server"
"""aiocoap logs here; span_events.log keeps it quiet, as our events say the same in better words."""

_TYPES: Final = tuple(AiocoapType)
_TUNING: Final = TransportTuning()
_ACK_DELAY: Final = 1.0
"""Seconds until a request that is not answered yet gets an empty ACK: its client repeats it after 2 s (ACK_TIMEOUT)."""

Send = Callable[[bytes, Any], None]
"""Sends a datagram to an address; raises OSError where the network refuses it."""


class Peer:
    """
    Where one message came from and where its answer goes; aiocoap's "remote".

    Quacks like `aiocoap.interfaces.EndpointAddress`. Peers with the same address are equal. Any
    hashable serves as address: a socket address, or a DTLS session, whose messages must never be
    mixed with those of another session at the same place (RFC 7252 §9.1.2).
    """

    __slots__ = ("_send", "address", "device", "exchange", "failure", "remote", "request", "session")

    scheme: ClassVar = "coap"
    is_multicast: ClassVar = False
    is_multicast_locally: ClassVar = False
    maximum_block_size_exp: ClassVar = 6
    maximum_payload_size: ClassVar = 1024
    authenticated_claims: ClassVar = ()

    def __init__(
        self,
        address: Hashable,
        remote: Remote,
        device: Device,
        request: CoapMessage,
        exchange: Exchange | None,
        send: Send,
        session: Session | None = None,
    ) -> None:
        self.address = address
        self.remote = remote
        self.device = device
        self.request = request
        """The message as we decoded it; aiocoap's copy has no options."""
        self.exchange = exchange
        """Remembers the answer; None for what needs no memory."""
        self.failure: OSError | None = None
        """Why the answer could not be sent."""
        self.session = session
        """The DTLS session; None without DTLS."""
        self._send = send

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and self.address == other.address

    def __hash__(self) -> int:
        return hash(self.address)

    def __repr__(self) -> str:
        return f"<Peer {self.hostinfo}>"

    @property
    def hostinfo(self) -> str:
        """Host and port as in a URI."""
        return render_remote(self.remote)

    @property
    def uri_base(self) -> str:
        """URI of the device's side."""
        return f"{self.scheme}://{self.hostinfo}"

    hostinfo_local: ClassVar = "localhost"
    uri_base_local: ClassVar = "coap://localhost"

    @property
    def blockwise_key(self) -> Hashable:
        """Blocks of the same address belong together."""
        return self.address

    def as_response_address(self) -> Peer:
        """Answers go back to where the request came from."""
        return self

    def send(self, datagram: bytes) -> None:
        """Send an answer; a failure is noted, as nothing may raise into aiocoap."""
        try:
            self._send(datagram, self.address)
        except OSError as exc:
            self.failure = exc


class Site(Protocol):
    """What answers requests."""

    def respond(self, pipe: Pipe) -> None:
        """Put exactly one response into the pipe, before returning or soon after; never raise."""


class CoapTransport:
    """
    One aiocoap context over whatever sends datagrams for it.

    Made where an event loop runs. `dispatch` is called with what came in; answers leave through
    the `Peer` that brought the request.
    """

    def __init__(self, site: Site, *, on_reply: Callable[[Peer], None]) -> None:
        self._context = _Context(serversite=site, loggername=LOGGER)
        tokens = TokenManager(self._context)
        self._messages = _Messages(tokens)
        # What Context._append_tokenmanaged_messagemanaged_transport does, with our message manager.
        self._messages.message_interface = _Interface(on_reply)
        tokens.token_interface = self._messages
        self._context.request_interfaces.append(tokens)
        self._closed = False

    def dispatch(self, peer: Peer) -> None:
        """
        Hand a message to aiocoap.

        The answer to a request is sent before this returns, or when the site has it; after `_ACK_DELAY` it is a
        confirmable message of its own, as the client was sent an empty ACK by then (RFC 7252 §5.2.2).
        """
        received = peer.request
        message = aiocoap.Message(code=AiocoapCode(received.code), payload=received.payload, transport_tuning=_TUNING)
        message.mtype = _TYPES[received.type]
        message.mid = received.message_id
        message.token = received.token
        message.remote = peer
        message.direction = Direction.INCOMING
        self._messages.dispatch_message(message)

    def awaits(self, peer: Peer) -> bool:
        """Tell whether an acknowledgement or reset settles something that was sent."""
        return (peer, peer.request.message_id) in self._messages._active_exchanges

    def next_message_id(self) -> int:
        """Take a message id for something that does not go through aiocoap."""
        number: int = self._messages._next_message_id()
        return number

    async def shutdown(self) -> None:
        """Give up what is under way; harmless when repeated."""
        if not self._closed:
            self._closed = True
            await self._context.shutdown()


def response(code: int, payload: bytes, options: Options) -> aiocoap.Message:
    """Make a response for a pipe."""
    message = aiocoap.Message(code=code, payload=payload, transport_tuning=_TUNING)
    for number, value in options:
        message.opt.add_option(OptionNumber(number).create_option(decode=value))
    return message


class _Context(aiocoap.Context):  # type: ignore[misc]  # aiocoap ships no types
    """A context whose site puts answers into pipes by itself: no task per request, no copy of the request."""

    def render_to_pipe(self, pipe: Pipe) -> None:
        self.serversite.respond(pipe)


class _Messages(MessageManager):  # type: ignore[misc]
    """The message layer without the parts that cost a timer per request; who has to wait gets one."""

    def _deduplicate_message(self, message: aiocoap.Message) -> bool:
        """Never: `Exchanges` has sorted out the duplicates, within a bound."""
        return False

    def _store_response_for_duplicates(self, message: aiocoap.Message) -> None:
        """`Exchange` holds the reply."""

    def _process_request(self, request: aiocoap.Message) -> None:
        """Hand a request up; only if it is not answered at once, there is a timer for an empty ACK."""
        if request.mtype is not aiocoap.CON:
            self.token_manager.process_request(request)
            return
        key, waiting = (request.remote, request.token), self._piggyback_opportunities
        if key in waiting:  # its client has given it up
            waiting.pop(key)[1].cancel()
        waiting[key] = (request.mid, _NO_TIMER)
        self.token_manager.process_request(request)
        if key in waiting:
            waiting[key] = (request.mid, self.loop.call_later(_ACK_DELAY, self._acknowledge, key))

    def _acknowledge(self, key: tuple[Peer, bytes]) -> None:
        message_id, _ = self._piggyback_opportunities.pop(key)
        self._send_empty_ack(key[0], message_id, "the answer takes its time")

    async def shutdown(self) -> None:
        """Give up what is under way."""
        for _, timer in self._piggyback_opportunities.values():
            timer.cancel()
        self._piggyback_opportunities.clear()
        await super().shutdown()


class _NoTimer:
    """Stands where aiocoap keeps the timer of an empty ACK."""

    def cancel(self) -> None:
        """There is nothing to cancel."""


_NO_TIMER: Final = _NoTimer()


class _Interface(MessageInterface):  # type: ignore[misc]
    """The lower end of aiocoap."""

    def __init__(self, on_reply: Callable[[Peer], None]) -> None:
        self._on_reply = on_reply

    def send(self, message: aiocoap.Message) -> None:
        peer: Peer = message.remote
        datagram = message.encode()
        exchange = peer.exchange
        if exchange is not None and message.mtype is aiocoap.ACK:  # copies of a NON get no answer
            exchange.reply = datagram
        peer.send(datagram)
        self._on_reply(peer)

    async def shutdown(self) -> None:
        """The socket belongs to the listener."""

    async def recognize_remote(self, remote: object) -> bool:
        return isinstance(remote, Peer)

    async def determine_remote(self, message: aiocoap.Message) -> None:
        """Devices are never called by address: they have no reachable one."""
