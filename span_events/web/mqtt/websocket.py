"""
MQTT over WebSocket (MQTT 5, 6): the URL ``/mqtt`` of the HTTP port, with the subprotocol ``mqtt``.

Browsers have no other way to MQTT. Frames are no packets: one may hold several, or a part of one.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import ClassVar, Final

from aiohttp import WSCloseCode, web

from span_events.config import HttpConfig, StreamsConfig
from span_events.errors import InvalidRequest, RequestError
from span_events.web.connection import Connection
from span_events.web.mqtt.service import MqttService
from span_events.web.mqtt.session import Session
from span_events.web.streams.admission import Admission
from span_events.web.streams.handshake import accept, offered_protocols
from span_events.web.streams.origins import Origins
from span_events.web.streams.reading import By, Reader
from span_events.web.streams.refusals import Refusals
from span_events.web.streams.replies import probe, tune
from span_events.wire.mqtt.reasons import Reason
from span_events.wire.websocket import binary_frame

PATH: Final = "/mqtt"
PROTOCOL: Final = "mqtt"
"""The subprotocol that a client must offer."""
LONGEST_MESSAGE: Final = 16_384
"""Octets of a client's message: two of its longest packets."""
_CLOSE_CODES: Final = MappingProxyType(
    {
        Reason.SUCCESS: WSCloseCode.OK,
        Reason.SERVER_SHUTTING_DOWN: WSCloseCode.GOING_AWAY,
        Reason.MALFORMED_PACKET: WSCloseCode.PROTOCOL_ERROR,
        Reason.PROTOCOL_ERROR: WSCloseCode.PROTOCOL_ERROR,
        Reason.SERVER_BUSY: WSCloseCode.TRY_AGAIN_LATER,
        Reason.QUOTA_EXCEEDED: WSCloseCode.TRY_AGAIN_LATER,
    }
)
"""Close codes; other reasons are violations of this server's policy (1008)."""


class MqttWebSockets:
    """
    Accepts MQTT clients on the HTTP port.

    Args:
        service: Holds their sessions, and those over TCP.
    """

    def __init__(
        self, service: MqttService, http: HttpConfig, streams: StreamsConfig, admission: Admission, refusals: Refusals
    ) -> None:
        self._service = service
        self._streams = streams
        self._origins = Origins(http.allowed_origins)
        self._admission = admission
        self._refusals = refusals

    def routes(self) -> list[web.RouteDef]:
        """List the routes; a client's CONNECT packet brings its token."""
        return [web.get(PATH, self.serve, allow_head=False)]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """
        Serve a client until its connection ends.

        Raises:
            RequestError: The request is no such handshake, a page of a foreign origin sent it, or there is no room.
        """
        try:
            response = self._accept(request)
            place = self._admission.hold(request, None)
        except RequestError as exc:
            self._refusals.count(request, exc, self._admission.client_of(request))
            raise
        with place:
            await self._follow(request, response)
        return response

    async def _follow(self, request: web.Request, response: web.StreamResponse) -> None:
        """Open the WebSocket, and return when it has ended."""
        response.force_close()
        await response.prepare(request)
        transport, protocol = request.transport, request.protocol
        if transport is None or transport.is_closing():
            return  # the client left during the handshake
        assert isinstance(protocol, Connection)
        shared = self._service.shared
        tune(transport, send_buffer=shared.send_buffer)
        probe(transport)
        reader = Reader(
            transport,
            self._streams,
            shared.clock,
            pause=protocol.pause_reading,
            spare=shared.send_buffer,
            on_flood=lambda: None,
            longest=LONGEST_MESSAGE,
        )
        remote = self._admission.client_of(request) or ""
        session = Session(shared, self._service, _Connection(transport, reader, remote))
        reader.on_octets = session.feed
        reader.on_text = lambda _: reader.close(WSCloseCode.UNSUPPORTED_DATA, "MQTT needs binary frames (MQTT 5, 6.0)")
        reader.on_end = lambda: session.cut(reader.end.by.value if reader.end else By.NETWORK)
        protocol.become_stream(reader)
        try:
            await asyncio.shield(reader.gone)
        finally:
            session.lost()
        transport.close()  # nothing may follow the close frames

    def _accept(self, request: web.Request) -> web.StreamResponse:
        self._origins.check(request.headers.get("Origin"), request.host)
        self._admission.check(request)
        response = accept(request, PROTOCOL)
        if PROTOCOL not in offered_protocols(request):
            raise InvalidRequest(
                f"The WebSocket handshake does not offer the subprotocol {PROTOCOL!r}",
                hint="MQTT 3.1.1 and 5 are served; a client of MQTT 3.1 offers 'mqttv3.1'.",
            )
        return response


class _Connection:
    """A WebSocket (`Link` of its session)."""

    __slots__ = ("_reader", "remote", "sink")

    is_websocket: ClassVar[bool] = True

    def __init__(self, transport: asyncio.Transport, reader: Reader, remote: str) -> None:
        self._reader = reader
        self.remote = remote
        self.sink = transport

    def send(self, packet: bytes) -> None:
        """Send a packet, unless the connection is closing."""
        if not self._reader.has_ended and not self.sink.is_closing():
            self.sink.write(binary_frame(packet))

    def close(self, reason: Reason, text: str) -> None:
        """Send a close frame behind all that was sent."""
        self._reader.close(_CLOSE_CODES.get(reason, WSCloseCode.POLICY_VIOLATION), text)

    def abort(self) -> None:
        """Close at once."""
        self.sink.abort()
