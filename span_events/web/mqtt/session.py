"""One client: the packets that it sends, the answers, and its subscribers in the hub."""

from __future__ import annotations

import asyncio
import secrets
from types import MappingProxyType
from typing import Final, Protocol

from span_events import ids
from span_events.bounded.rates import Allowance
from span_events.errors import AccessDenied, LimitReached, RequestError, Unauthenticated, Unavailable
from span_events.events.filters import Scope
from span_events.fanout.subscriber import Ending, Sink
from span_events.log import get_logger
from span_events.registry.model import Token
from span_events.web.mqtt.publications import framing
from span_events.web.mqtt.shared import Shared
from span_events.web.mqtt.subscriptions import Subscriptions
from span_events.web.streams.admission import Place
from span_events.wire.mqtt.fields import Properties, Property
from span_events.wire.mqtt.packets import (
    ClientPackets,
    Connect,
    Disconnect,
    Packet,
    PingRequest,
    Publish,
    Subscribe,
    Unsubscribe,
    Version,
)
from span_events.wire.mqtt.reasons import PacketRefused, Reason
from span_events.wire.mqtt.replies import PING_RESPONSE, connack, disconnect, reason_string, suback, unsuback
from span_events.wire.recognition import ProtocolName, recognise

log = get_logger("mqtt")

LONGEST_PACKET: Final = 8_192
"""Octets of a packet that a client may send."""
_BURST: Final = 2.0
"""Seconds whose allowance may be used at once."""
_PATIENCE: Final = 1.5
"""Times the keep alive interval without a packet, until the client counts as lost (3.1.2.10)."""
_ENDINGS: Final = MappingProxyType(
    {
        Ending.BEHIND: Reason.QUOTA_EXCEEDED,
        Ending.REVOKED: Reason.NOT_AUTHORIZED,
        Ending.SHUTDOWN: Reason.SERVER_SHUTTING_DOWN,
    }
)


class Link(Protocol):
    """The connection of a client."""

    @property
    def sink(self) -> Sink:
        """Takes octets as they go to the client."""

    @property
    def is_websocket(self) -> bool:
        """True if each packet needs a frame."""

    @property
    def remote(self) -> str:
        """Address of the client."""

    def send(self, packet: bytes) -> None:
        """Send a packet, unless the connection is closing."""

    def close(self, reason: Reason, text: str) -> None:
        """Close behind all that was sent, without waiting long for the client."""

    def abort(self) -> None:
        """Close at once."""


class Owner(Protocol):
    """Holds all sessions."""

    def opened(self, session: Session) -> None:
        """Count a session."""

    def joined(self, session: Session) -> None:
        """Note that the client is connected."""

    def changed(self, session: Session) -> None:
        """Note that the client's subscriptions have changed, or have ended."""

    def lost(self, session: Session) -> None:
        """Forget a session, as its connection has ended."""

    def refused(self, reason: Reason, text: str, remote: str) -> None:
        """Count a client that was not admitted."""

    def ended(self, by: str, *, flooded: bool) -> None:
        """Count the end of a session."""


class Session:
    """
    A client from its first octet to its last.

    Args:
        link: Its connection.
    """

    __slots__ = (
        *("_allowance", "_asked", "_held", "_link", "_octets", "_owner", "_packets", "_shared", "_subscriptions"),
        "_task",
        *("client_id", "deadline", "is_over", "keep_alive", "token"),
    )

    def __init__(self, shared: Shared, owner: Owner, link: Link) -> None:
        config = shared.config
        self._shared = shared
        self._owner = owner
        self._link = link
        self._packets = ClientPackets(LONGEST_PACKET)
        self._allowance = Allowance(config.client_packets, config.client_packets * _BURST)
        self._octets = Allowance(config.client_octets, config.client_octets * _BURST)
        self._asked: Properties = {}  # of the CONNECT packet
        self._held: Place | None = None  # among the streams of the token
        self._task: asyncio.Task[None] | None = None  # checks the token; packets wait for it
        self.is_over = False
        """True once nothing of the client counts any more."""
        self.token: Token | None = None
        """Token of the client; None until it is connected."""
        self.client_id = ""
        self.keep_alive = 0
        self.deadline = shared.clock.monotonic() + config.connect_timeout
        """Monotonic seconds at which the client must have sent a packet."""
        self._subscriptions: Subscriptions | None = None
        owner.opened(self)

    # ---- called by the connection -------------------------------------------------------------

    def feed(self, octets: bytes) -> None:
        """Take octets of the client."""
        if self.is_over:
            return
        now = self._shared.clock.monotonic()
        if not self._octets.admits(len(octets), now):
            self._flooded()
            return
        self._packets.feed(octets)
        self._drain(now)

    def cut(self, by: str) -> None:
        """Note that nothing more can be sent to the client, and whose doing that is."""
        if not self.is_over:
            self._finish(by=by, reason="")

    def lost(self) -> None:
        """Note that the connection has ended."""
        self.cut("network")
        if self._task is not None:
            self._task.cancel()
        if self._held is not None:
            self._held.release()
        self._owner.lost(self)

    # ---- called by the owner ----------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True while the client has no subscription."""
        return self._subscriptions is None or not self._subscriptions.is_active

    def displace(self) -> None:
        """Make room for another client: at once, unless this one is connected."""
        if self.token is None or self.is_over:
            self._link.abort()
        else:
            self.end(Reason.SERVER_BUSY, "displaced by a newer connection, because of mqtt.connections")

    def tick(self, now: float) -> None:
        """End the session if its client is overdue."""
        if now < self.deadline or self.is_over or self._task is not None:
            return
        if self.token is None:
            self.end(Reason.KEEP_ALIVE_TIMEOUT, f"no CONNECT within {self._shared.config.connect_timeout:g} s")
        else:
            self.end(Reason.KEEP_ALIVE_TIMEOUT, f"no packet for 1.5 times the keep alive interval, {self.keep_alive} s")

    def end(self, reason: Reason, text: str) -> None:
        """End the session by the server."""
        if self.is_over:
            return
        version = self._packets.version
        if self.token is not None:
            assert version is not None
            farewell = self._fitting(disconnect(version, reason, text), disconnect(version, reason))
        else:
            self._owner.refused(reason, text, self._link.remote)
            version = version or Version.V3_1_1
            farewell = self._fitting(connack(version, reason, reason_string(text)), connack(version, reason, {}))
        self._finish(by="server", reason=reason.word, text=text)
        if farewell:
            self._link.send(farewell)
        self._link.close(reason, text)

    # ---- packets ------------------------------------------------------------------------------

    def _drain(self, now: float) -> None:
        try:
            while not self.is_over and self._task is None and (packet := self._packets.next()) is not None:
                if not self._allowance.admits(1, now):
                    self._flooded()
                    return
                if self.keep_alive:
                    self.deadline = now + self.keep_alive * _PATIENCE
                self._take(packet)
        except PacketRefused as exc:
            text = str(exc) if exc.reason is Reason.MALFORMED_PACKET else exc.detail
            self.end(exc.reason, self._other_protocol() or text)

    def _take(self, packet: Packet) -> None:
        match packet:
            case PingRequest():
                if self._reads():
                    self._link.send(PING_RESPONSE)
            case Subscribe() | Unsubscribe():
                self._subscribe(packet)
            case Connect():
                self._task = asyncio.get_running_loop().create_task(self._connect(packet))
            case Disconnect():
                self._finish(by="client", reason=f"0x{packet.reason:02x}" if packet.reason else "")
                self._link.close(Reason.SUCCESS, "")
            case Publish():
                self.end(
                    Reason.NOT_AUTHORIZED,
                    f"nobody can publish here ({packet.topic[:100]!r}): this server sends events, it is no broker",
                )

    def _subscribe(self, packet: Subscribe | Unsubscribe) -> None:
        subscriptions, version = self._subscriptions, self._packets.version
        assert subscriptions is not None
        assert version is not None
        if not self._reads():
            self.end(Reason.QUOTA_EXCEEDED, "the client sends packets, and does not read the answers")
            return
        if isinstance(packet, Unsubscribe):
            reasons = subscriptions.remove(packet.filters)
            self._link.send(unsuback(version, packet.packet_id, reasons))
        else:
            reasons, text = subscriptions.add(packet.filters)
            if text:
                log.info("subscription_refused", remote=self._link.remote, client=self.client_id, why=text)
            plain = suback(version, packet.packet_id, reasons)
            explains = self._asked.get(Property.REQUEST_PROBLEM_INFORMATION, 1)
            told = suback(version, packet.packet_id, reasons, text) if explains else plain
            self._link.send(self._fitting(told, plain))
        self._owner.changed(self)

    def _fitting(self, packet: bytes, plain: bytes) -> bytes:
        """Return a packet with a reason for people, or one without if the client takes none of that length."""
        longest = self._asked.get(Property.MAXIMUM_PACKET_SIZE)
        return plain if isinstance(longest, int) and len(packet) > longest else packet

    def _other_protocol(self) -> str:
        """Name the protocol of a client that came to the wrong port; empty if it is not known, or MQTT."""
        seen = recognise(self._packets.undecoded) if self._packets.version is None else None
        if seen is None or seen.protocol is ProtocolName.MQTT:
            return ""
        is_tls = seen.protocol is ProtocolName.TLS
        advice = "this port is without TLS: set mqtt.tls, or connect without" if is_tls else "this port serves MQTT"
        return f"this is {seen.protocol} ({seen.words}), {advice}"

    def _reads(self) -> bool:
        """Return whether the client reads: one that does not must not make our buffer grow."""
        return self._link.sink.get_write_buffer_size() < self._shared.send_buffer

    def _flooded(self) -> None:
        self.end(Reason.MESSAGE_RATE_TOO_HIGH, "too many packets: a subscriber has little to say")

    # ---- begin and end ------------------------------------------------------------------------

    async def _connect(self, packet: Connect) -> None:
        """Check a CONNECT, and answer it."""
        self._asked = packet.properties
        try:
            reach, token = await self._admit(packet)
        except PacketRefused as exc:
            self.end(exc.reason, exc.detail)
            return
        finally:
            self._task = None
        if self.is_over:
            return
        self.token, self.keep_alive = token, packet.keep_alive
        self.client_id = packet.client_id or f"auto-{secrets.token_hex(8)}"
        now = self._shared.clock.monotonic()
        self.deadline = now + self.keep_alive * _PATIENCE if self.keep_alive else float("inf")
        longest = packet.properties.get(Property.MAXIMUM_PACKET_SIZE)
        assert longest is None or isinstance(longest, int)
        frame = framing(packet.version, websocket=self._link.is_websocket, longest=longest)
        self._subscriptions = Subscriptions(
            self._shared, reach, frame, sink=self._link.sink, token_id=token.id, close=self._ended
        )
        self._owner.joined(self)
        self._link.send(connack(packet.version, Reason.SUCCESS, self._promises(packet)))
        log.info(
            "subscriber_joined",
            token=ids.render(token.id),
            protocol=f"MQTT {packet.version.title}",
            client=self.client_id[:100],
            remote=self._link.remote,
        )
        self._drain(now)

    async def _admit(self, packet: Connect) -> tuple[Scope, Token]:
        """Return what a client may see, and its token."""
        if Property.AUTHENTICATION_METHOD in packet.properties:
            raise PacketRefused(Reason.BAD_AUTHENTICATION_METHOD, "there is no enhanced authentication here")
        if packet.has_will:
            raise PacketRefused(Reason.NOT_AUTHORIZED, "nobody can publish here: connect without a will message")
        if not packet.client_id and not packet.clean and packet.version is Version.V3_1_1:
            raise PacketRefused(
                Reason.CLIENT_IDENTIFIER_NOT_VALID, "an empty client identifier needs a clean session (3.1.3.1)"
            )
        if not packet.user or not packet.password:
            raise PacketRefused(
                Reason.BAD_USER_NAME_OR_PASSWORD, "the user name is a collection's id or *, the password a token"
            )
        try:
            self._shared.hub.check_room()
            reach, token = await self._shared.authorize(packet.user, packet.password)
            self._held = self._shared.admission.hold_token(token)
            return reach, token
        except RequestError as exc:
            raise PacketRefused(_reason_of(exc), f"{exc.detail}. {exc.hint}".strip()) from exc

    def _promises(self, packet: Connect) -> dict[Property, int | str | bytes]:
        """Return the properties of the answer: what this server leaves out of MQTT 5."""
        promises: dict[Property, int | str | bytes] = {
            Property.MAXIMUM_QOS: 0,
            Property.RETAIN_AVAILABLE: 0,
            Property.MAXIMUM_PACKET_SIZE: LONGEST_PACKET,
            Property.SUBSCRIPTION_IDENTIFIERS_AVAILABLE: 0,
            Property.SHARED_SUBSCRIPTIONS_AVAILABLE: 0,
        }
        if packet.properties.get(Property.SESSION_EXPIRY_INTERVAL):
            promises[Property.SESSION_EXPIRY_INTERVAL] = 0
        if not packet.client_id:
            promises[Property.ASSIGNED_CLIENT_IDENTIFIER] = self.client_id
        return promises

    def _ended(self, ending: Ending, text: str) -> None:
        """End by the hub."""
        self.end(_ENDINGS[ending], text)

    def _finish(self, *, by: str, reason: str, text: str = "") -> None:
        self.is_over = True
        delivered = dropped = 0
        if self._subscriptions is not None:
            self._subscriptions.close()
            delivered, dropped = self._subscriptions.delivered, self._subscriptions.dropped
        self._owner.changed(self)
        if self.token is not None:
            self._owner.ended(by, flooded=reason == Reason.MESSAGE_RATE_TOO_HIGH.word)
            log.info(
                "subscriber_left",
                token=ids.render(self.token.id),
                by=by,
                reason=reason,
                why=text,
                delivered=delivered,
                dropped=dropped,
            )


def _reason_of(refusal: RequestError) -> Reason:
    match refusal:
        case Unauthenticated():
            return Reason.BAD_USER_NAME_OR_PASSWORD
        case AccessDenied():
            return Reason.NOT_AUTHORIZED
        case Unavailable():
            return Reason.SERVER_BUSY
        case LimitReached():
            return Reason.QUOTA_EXCEEDED
        case _:
            return Reason.BAD_USER_NAME_OR_PASSWORD
