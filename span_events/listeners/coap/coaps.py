"""CoAP over DTLS (RFC 7252 §9): the listener's socket and sessions. `CoapEndpoint` handles the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from span_events.clock import Clock
from span_events.config import CoapConfig, CoapsConfig, MessagesConfig
from span_events.events.message import Transport
from span_events.events.reasons import MessageRejectedReason
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.listeners.base import UdpListener
from span_events.listeners.coap.endpoint import CoapEndpoint
from span_events.listeners.coap.service import MakeService
from span_events.listeners.dtls.server import DtlsContext, DtlsServer
from span_events.listeners.dtls.session import DtlsSession
from span_events.listeners.ports import Ports
from span_events.listeners.udp import UdpSocket
from span_events.metrics import Metric
from span_events.net import Remote
from span_events.wire.recognition import ProtocolName


class Coaps(UdpListener):
    """The listener for CoAP over DTLS; each DTLS session is one CoAP peer."""

    name = "coaps"

    def __init__(
        self,
        config: CoapsConfig,
        coap: CoapConfig,
        messages: MessagesConfig,
        *,
        reception: Reception,
        outbox: Outbox,
        clock: Clock,
        secure: DtlsContext,
        services: Sequence[MakeService] = (),
        ports: Ports | None = None,
    ) -> None:
        super().__init__(
            UdpSocket(self.name, config.host, config.port, receive_buffer=config.receive_buffer, receive=self._receive)
        )
        self._coap = coap
        self._messages = messages
        self._reception = reception
        self._outbox = outbox
        self._clock = clock
        self._services = services
        self._ports = ports or Ports()
        self._secure = secure
        self._endpoint: CoapEndpoint | None = None
        self._dtls: DtlsServer | None = None

    @property
    def endpoint(self) -> CoapEndpoint:
        """The endpoint and its counters; only after `start`."""
        assert self._endpoint is not None, "the listener has not started"
        return self._endpoint

    @property
    def dtls(self) -> DtlsServer:
        """The DTLS sessions; only after `start`."""
        assert self._dtls is not None, "the listener has not started"
        return self._dtls

    @property
    def defects(self) -> int:
        """Number of datagrams whose handling failed by a defect of the server."""
        return super().defects + self.endpoint.defects

    def metrics(self) -> list[Metric]:
        """Return the metrics of the listener."""
        return [
            Metric("coaps_messages", "CoAP messages over DTLS.", "counter", lambda: self.endpoint.received),
            Metric(
                "coaps_defects",
                "Datagrams whose handling failed by a defect of the server.",
                "counter",
                lambda: self.defects,
            ),
        ]

    async def start(self) -> None:
        """Bind the socket; raises `ListenerUnavailable`."""
        await super().start()
        self._endpoint = CoapEndpoint(
            self._coap,
            transport=Transport.COAPS,
            local_port=self._socket.address[1],
            max_payload=self._messages.max_payload,
            reception=self._reception,
            outbox=self._outbox,
            clock=self._clock,
            send=_send,
            services=[make(Transport.COAPS, self._socket.address) for make in self._services],
            ports=self._ports,
        )
        self._dtls = self._secure.serve(
            Transport.COAPS, send=self._socket.send, deliver=self._take, ended=self._endpoint.forget_peer
        )

    async def stop(self) -> None:
        """End the sessions and release the socket; idempotent."""
        if self._dtls is not None:
            self._dtls.stop()
        await super().stop()
        if self._endpoint is not None:
            await self._endpoint.shutdown()

    def _receive(self, datagram: bytes, remote: Remote) -> None:
        if self.dtls.takes(datagram, remote):
            return
        self._reception.rejections.rejected(
            MessageRejectedReason.MALFORMED,
            device=self._secure.identification.device_meant_for(remote[0]),
            remote=remote,
            transport=Transport.COAPS,
            size=len(datagram),
            detail="this is no DTLS record; plain CoAP has another port",
            mark=self._ports.mark(datagram, served=ProtocolName.DTLS),
            at=0,
        )

    def _take(self, session: DtlsSession, payload: bytes) -> None:
        fleet = session.fleet
        self.endpoint.receive_from(fleet.device, payload, session.remote, address=session, session=fleet)


def _send(datagram: bytes, address: DtlsSession) -> None:
    address.send(datagram)
