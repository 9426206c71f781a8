"""CoAP over UDP: the listener's socket and metrics. `CoapEndpoint` handles the protocol."""

from __future__ import annotations

from collections.abc import Sequence

from span_events.clock import Clock
from span_events.config import CoapConfig, MessagesConfig
from span_events.events.message import Transport
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.listeners.base import UdpListener
from span_events.listeners.coap.endpoint import CoapEndpoint
from span_events.listeners.coap.service import MakeService
from span_events.listeners.ports import Ports
from span_events.listeners.udp import UdpSocket
from span_events.metrics import Metric
from span_events.net import Remote


class Coap(UdpListener):
    """The listener for CoAP; the source address identifies the device."""

    name = "coap"

    def __init__(
        self,
        config: CoapConfig,
        messages: MessagesConfig,
        *,
        reception: Reception,
        outbox: Outbox,
        clock: Clock,
        services: Sequence[MakeService] = (),
        ports: Ports | None = None,
    ) -> None:
        super().__init__(
            UdpSocket(self.name, config.host, config.port, receive_buffer=config.receive_buffer, receive=self._receive)
        )
        self._config = config
        self._messages = messages
        self._reception = reception
        self._outbox = outbox
        self._clock = clock
        self._services = services
        self._ports = ports or Ports()
        self._endpoint: CoapEndpoint | None = None

    @property
    def endpoint(self) -> CoapEndpoint:
        """The endpoint and its counters; only after `start`."""
        assert self._endpoint is not None, "the listener has not started"
        return self._endpoint

    @property
    def defects(self) -> int:
        """Number of datagrams whose handling failed by a defect of the server."""
        return super().defects + self.endpoint.defects

    def metrics(self) -> list[Metric]:
        """Return the metrics of the listener."""
        return [
            Metric(
                "coap_messages",
                "CoAP messages by outcome.",
                "counter",
                lambda: {
                    "received": self.endpoint.received,
                    "replied": self.endpoint.replied,
                    "malformed": self.endpoint.malformed,
                    "duplicate": self.endpoint.duplicates,
                    "dropped": self.endpoint.dropped,
                    "unanswered": self.endpoint.unanswered,
                    "unsent": self.endpoint.unsent,
                },
                label="outcome",
            ),
            Metric(
                "coap_remembered_exchanges",
                "Remembered exchanges; at most coap.remembered_exchanges.",
                "gauge",
                lambda: self.endpoint.remembered_exchanges,
            ),
            Metric(
                "coap_unfinished_uploads",
                "Unfinished block-wise uploads; at most coap.unfinished_uploads.",
                "gauge",
                lambda: self.endpoint.unfinished_uploads,
            ),
            Metric(
                "coap_defects",
                "Messages whose handling failed by a defect of the server.",
                "counter",
                lambda: self.defects,
            ),
        ]

    async def start(self) -> None:
        """Bind the socket; raises `ListenerUnavailable`."""
        await super().start()
        self._endpoint = CoapEndpoint(
            self._config,
            transport=Transport.COAP,
            local_port=self._socket.address[1],
            max_payload=self._messages.max_payload,
            reception=self._reception,
            outbox=self._outbox,
            clock=self._clock,
            send=self._socket.send,
            services=[make(Transport.COAP, self._socket.address) for make in self._services],
            ports=self._ports,
        )

    async def stop(self) -> None:
        """Release the socket; idempotent."""
        await super().stop()
        if self._endpoint is not None:
            await self._endpoint.shutdown()

    def _receive(self, datagram: bytes, remote: Remote) -> None:
        self.endpoint.receive(datagram, remote)
