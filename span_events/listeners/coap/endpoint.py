"""
A CoAP endpoint without a socket: accepts datagrams, publishes events and sends answers.

The listeners for UDP and DTLS differ only in the source of datagrams and in the identification of devices.
Each datagram takes the same steps: identify the device, check its rate, decode, detect duplicates, check the options.
Then the site answers, and `Replies` sends the answer, at once or later.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from span_events.clock import Clock
from span_events.config import CoapConfig
from span_events.errors import MalformedMessage
from span_events.events.marks import Mark
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.devices.sessions import Session
from span_events.listeners.coap.answer import Answer
from span_events.listeners.coap.exchanges import Exchange, Exchanges
from span_events.listeners.coap.peer import Peer
from span_events.listeners.coap.replies import Replies, Send
from span_events.listeners.coap.service import CoapService
from span_events.listeners.coap.site import CoapSite
from span_events.listeners.coap.strangers import Strangers
from span_events.listeners.ports import Ports
from span_events.net import Remote
from span_events.registry.model import Device
from span_events.wire.coap.messages import (
    HEADER,
    CoapMessage,
    Code,
    Option,
    Options,
    Type,
    decode,
    name_of_code,
    option_of,
)
from span_events.wire.coap.requests import METHODS, read_options
from span_events.wire.recognition import ProtocolName

_CONFIRMABLE_HEAD: Final = 1 << 2 | Type.CON
"""Version 1 and type CON: the upper four bits of a message."""
_RETRY_AFTER: Final = ((int(Option.MAX_AGE), b"\x01"),)
"""Max-Age: seconds until a device over its rate limit may try again (RFC 8516)."""
_REFUSALS: Final[dict[MessageRejectedReason, tuple[Code, bytes, Options]]] = {
    MessageRejectedReason.DEVICE_DISABLED: (Code.FORBIDDEN, b"this device is disabled", ()),
    MessageRejectedReason.COLLECTION_DISABLED: (Code.FORBIDDEN, b"the device's collection is disabled", ()),
    MessageRejectedReason.RATE_LIMITED: (Code.TOO_MANY_REQUESTS, b"too many messages; slow down", _RETRY_AFTER),
}
_REQUESTS: Final = frozenset(bytes((first, code)) for first in range(0x40, 0x60) for code in METHODS)
"""First two octets of requests: version 1, type CON or NON, and a method."""
_PROXYING: Final = frozenset({Option.PROXY_URI, Option.PROXY_SCHEME})


class CoapEndpoint:
    """
    One endpoint; must be created inside a running event loop.

    Args:
        transport: CoAP or CoAPS, for events.
        local_port: Port of the listener, for messages.
        max_payload: Upper bound of an upstream message in octets (``messages.max_payload``).
        services: Services at reserved paths.
        ports: Ports of the other protocols, for messages that look like one.
        send: Sends a datagram to the address of a received one; may raise OSError.
    """

    def __init__(
        self,
        config: CoapConfig,
        *,
        transport: Transport,
        local_port: int,
        max_payload: int,
        reception: Reception,
        outbox: Outbox,
        clock: Clock,
        send: Send,
        services: Sequence[CoapService] = (),
        ports: Ports | None = None,
    ) -> None:
        self._transport = transport
        self._reception = reception
        self._clock = clock
        self._exchanges = Exchanges(limit=config.remembered_exchanges, lifetime=config.exchange_lifetime)
        self._site = CoapSite(
            config,
            transport=transport,
            local_port=local_port,
            max_payload=max_payload,
            reception=reception,
            outbox=outbox,
            clock=clock,
            services=services,
        )
        self._ports = ports or Ports()
        self._strangers = Strangers(config.strangers_per_minute)
        self._replies = Replies(clock=clock, send=send, sent=self._site.sent)
        self.received = 0
        """Number of received datagrams."""
        self.malformed = 0
        """Number of malformed datagrams from known devices."""
        self.duplicates = 0
        """Number of duplicate requests."""
        self.dropped = 0
        """Number of acknowledgements, resets and responses that match no message of the server."""

    @property
    def replied(self) -> int:
        """Number of sent datagrams, resets and answers from memory included."""
        return self._replies.sent

    @property
    def unanswered(self) -> int:
        """Number of requests of strangers without an answer."""
        return self._strangers.unanswered

    @property
    def unsent(self) -> int:
        """Number of replies that the network refused."""
        return self._replies.unsent

    @property
    def remembered_exchanges(self) -> int:
        """Number of remembered requests."""
        return len(self._exchanges)

    @property
    def unfinished_uploads(self) -> int:
        """Number of unfinished block-wise uploads."""
        return len(self._site.uploads)

    @property
    def defects(self) -> int:
        """Number of requests that failed by a defect of the server."""
        return self._site.defects

    def receive(self, datagram: bytes, remote: Remote) -> None:
        """Handle a datagram whose source address identifies the device."""
        mark = None if datagram[:2] in _REQUESTS else self._mark(datagram)
        found = self._reception.device_at(remote[0])
        if isinstance(found, Device):
            self.receive_from(found, datagram, remote, address=remote)
        elif self._reception.hold_or_reject(
            found, datagram, remote, self.receive, transport=self._transport, mark=mark
        ):
            self.received += 1
            self._refuse_stranger(datagram, remote)

    def receive_from(
        self, device: Device, datagram: bytes, remote: Remote, *, address: Hashable, session: Session | None = None
    ) -> None:
        """
        Handle a datagram of an identified device.

        Args:
            address: Destination of answers, and owner of message ids and tokens: the remote, or a DTLS session.
            session: The DTLS session, for events.
        """
        self.received += 1
        reason = self._reception.admit(device, remote, transport=self._transport, size=len(datagram))
        if reason is not None:
            self._refuse(datagram, address, *_REFUSALS[reason])
            return
        try:
            message = decode(datagram)
        except MalformedMessage as exc:
            self._reject_malformed(device, datagram, remote, address, exc)
            return
        if 0 < message.code < 32:
            self._take_request(device, datagram, message, remote, address, session)
        elif message.code == Code.EMPTY and message.type is Type.CON:  # a ping (RFC 7252 §4.3)
            self._replies.reset(message.message_id, address)
        else:
            self._take_other(device, datagram, message, remote, address)

    def forget_peer(self, address: Hashable) -> None:
        """Drop the state of an address (a DTLS session) that will never send again."""
        self._exchanges.forget_peer(address)
        self._replies.forget_peer(address)
        self._site.forget_peer(address)

    async def shutdown(self) -> None:
        """Give up the unfinished answers."""
        await self._replies.close()

    def _take_request(
        self,
        device: Device,
        datagram: bytes,
        request: CoapMessage,
        remote: Remote,
        address: Hashable,
        session: Session | None,
    ) -> None:
        now = self._clock.monotonic()
        exchange = None
        options = read_options(request)
        if self._site.is_repeatable(request, options.path):
            self._exchanges.passed(address, request.token, now)
        else:
            exchange = self._exchanges.meet(address, datagram, request.token, now)
            if exchange.count > 1:
                self._take_duplicate(device, request, exchange, address, now - exchange.at)
                return
        peer = Peer(address, remote, device, request, exchange, session, options)
        if options.unsupported is not None:
            self._reject_option(peer, options.unsupported)
            return
        self._replies.renew(peer)
        answer = self._site.answer(peer)
        if isinstance(answer, Answer):
            self._replies.answer(peer, answer)
        else:
            self._replies.answer_later(peer, self._site.wait(peer, answer))

    def _take_duplicate(
        self, device: Device, request: CoapMessage, exchange: Exchange, address: Hashable, seconds: float
    ) -> None:
        """Answer a duplicate CON with the same octets; a duplicate NON gets no answer (RFC 7252 §4.5)."""
        self.duplicates += 1
        if request.type is Type.CON and exchange.reply is not None:
            self._replies.transmit(exchange.reply, address)
        self._reception.rejections.duplicate(
            device,
            transport=self._transport,
            message_id=exchange.message_id,
            count=exchange.count,
            seconds=seconds,
            confirmable=request.type is Type.CON,
        )

    def _take_other(
        self, device: Device, datagram: bytes, message: CoapMessage, remote: Remote, address: Hashable
    ) -> None:
        """Handle an acknowledgement, a reset or a response; most match no message of the server."""
        unasked = (
            message.type is Type.CON or message.type is Type.NON
        )  # a response, but the server never sends requests
        if not unasked and self._replies.settle(message, address):
            return
        self.dropped += 1
        if message.code:
            code, mark = name_of_code(message.code), self._mark(datagram)
            self._reception.rejections.rejected(
                MessageRejectedReason.UNEXPECTED_RESPONSE if mark is None else MessageRejectedReason.MALFORMED,
                device=device,
                remote=remote,
                transport=self._transport,
                size=len(datagram),
                code=code if mark is None else None,
                detail=f"code octet {message.code} is a response ({code}), wanted 1 to 31: a request",
                mark=mark,
            )
        if message.type is Type.CON:
            self._replies.reset(message.message_id, address)

    def _reject_malformed(
        self, device: Device, datagram: bytes, remote: Remote, address: Hashable, exc: MalformedMessage
    ) -> None:
        """Reject a malformed CON with a reset, all others silently, other versions too (RFC 7252 §3, §4.2)."""
        self.malformed += 1
        self._reception.rejections.rejected(
            MessageRejectedReason.MALFORMED,
            device=device,
            remote=remote,
            transport=self._transport,
            size=len(datagram),
            detail=exc.detail,
            at=exc.at,
            mark=self._mark(datagram),
        )
        if len(datagram) >= HEADER.size and datagram[0] >> 4 == _CONFIRMABLE_HEAD:
            self._replies.reset(int.from_bytes(datagram[2:4], "big"), address)

    def _mark(self, datagram: bytes) -> Mark | None:
        """Return the mark of a datagram that looks like another protocol, such as the HTTP ``GET /``."""
        return self._ports.mark(datagram, served=ProtocolName.COAP)

    def _reject_option(self, peer: Peer, option: int) -> None:
        request = peer.request
        proxying = option in _PROXYING and option_of(request, option) is not None
        reason = (
            MessageRejectedReason.PROXYING_NOT_SUPPORTED if proxying else MessageRejectedReason.UNKNOWN_CRITICAL_OPTION
        )
        self._reception.rejections.rejected(
            reason, device=peer.device, remote=peer.remote, transport=self._transport, option=option
        )
        if proxying:
            answer = Answer(Code.PROXYING_NOT_SUPPORTED, b"this server is no proxy")
        elif request.type is Type.CON:
            answer = Answer(Code.BAD_OPTION, f"option {option} is not served here".encode())
        else:  # a NON with an unknown critical option is rejected in silence (RFC 7252 §5.4.1)
            return
        self._replies.answer(peer, answer)

    def _refuse(self, datagram: bytes, address: Hashable, code: Code, diagnostic: bytes, options: Options = ()) -> None:
        """Answer a request of a rejected device; ignore its other messages."""
        request = _request_in(datagram)
        if request is not None:
            self._replies.refuse(request, address, code, diagnostic, options)

    def _refuse_stranger(self, datagram: bytes, remote: Remote) -> None:
        """Answer a request from an address of no device as briefly as possible, unless there are too many."""
        request = _request_in(datagram)
        if request is not None and self._strangers.admits(request, remote, self._clock.monotonic()):
            self._replies.refuse(request, remote, Code.UNAUTHORIZED, b"")


def _request_in(datagram: bytes) -> CoapMessage | None:
    try:
        message = decode(datagram)
    except MalformedMessage:
        return None
    return message if 0 < message.code < 32 else None
