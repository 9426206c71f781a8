"""The role of a device node: listeners of devices, gateways and the mobile core, and clients of other brokers."""

from __future__ import annotations

from span_events.app.roles.blobs import blob_listeners
from span_events.app.roles.endpoints import fill_endpoints
from span_events.app.roles.node import RECONNECT, Node
from span_events.app.shutdown import Streams
from span_events.events.message import Transport
from span_events.listeners.base import Listener
from span_events.listeners.chirpstack.brokers import Brokers
from span_events.listeners.coap.blobs import CoapBlobs
from span_events.listeners.coap.coap import Coap
from span_events.listeners.coap.coaps import Coaps
from span_events.listeners.coap.firmware import CoapFirmware
from span_events.listeners.coap.service import MakeService
from span_events.listeners.datagrams import Datagrams
from span_events.listeners.dtls.server import DtlsContext
from span_events.listeners.gateways.listener import GatewayListener
from span_events.listeners.ports import Ports
from span_events.listeners.radius.listener import Radius
from span_events.log import get_logger
from span_events.metrics import Measure
from span_events.net import Remote

log = get_logger("app")


class DeviceListeners:
    """The listeners of devices that the configuration enables, not bound yet."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._config = node.config
        self._fleet = node.fleet
        self._ports = Ports()
        self._secure = DtlsContext(
            config=self._config.dtls,
            engine=node.engines.dtls(mtu=self._config.dtls.mtu),
            reception=self._fleet.reception,
            identification=self._fleet.identification,
            used=self._fleet.certificates.used,
            clock=node.clock,
        )
        self._brokers = Brokers(self._config.chirpstack, bus=node.bus, fleet=self._fleet, clock=node.clock)
        services: list[MakeService] = [self._coap_firmware]
        if self._config.blobs.enabled:
            services.append(self._coap_blobs)
        self.datagrams = self._make_datagrams()
        self.coap = self._make_coap(services)
        self.coaps = self._make_coaps(services)
        self.radius = self._make_radius()
        self.gateways = self._make_gateways()
        blobs: list[Listener] = []
        if self._config.blobs.enabled:
            blobs += blob_listeners(
                self._config.blobs,
                node.engines,
                fleet=self._fleet,
                clock=node.clock,
                refused=node.refused,
                ports=self._ports,
            )
        made: tuple[Listener | None, ...] = (self.datagrams, self.coap, self.coaps, self.radius, self.gateways)
        self.closing: list[Streams] = []
        self.listeners = [*(each for each in made if each is not None), *blobs]

    def bound(self) -> None:
        """Tell devices and the API the bound addresses."""
        addresses = self._node.addresses
        if self.radius is not None:
            addresses["radius-accounting"] = self.radius.accounting_address
        self._ports.fill(addresses, dtls=self._config.dtls.enabled)
        fill_endpoints(self._config, addresses, self._fleet.directory)

    def run(self) -> None:
        """Connect to the brokers. Of nodes that share a registry, one does: each would publish every event."""
        if not self._config.chirpstack.brokers:
            return
        supervisor, store = self._node.supervisor, self._node.store
        if store.is_shared:
            reader = store.broker_reader
            supervisor.keep(RECONNECT, "chirpstack_reader", reader.campaign)
            supervisor.run("chirpstack", lambda: reader.while_leading(self._brokers.run))
        else:
            supervisor.run("chirpstack", self._brokers.run)

    def health(self) -> dict[str, str]:
        """Return the health of the parts that may fail while they are bound."""
        return {"radius-accounting": self.radius.health} if self.radius is not None else {}

    def metrics(self) -> list[Measure]:
        """List the metrics, without those of each listener."""
        return [*self._secure.metrics(), *self._brokers.metrics()]

    # ---- the listeners ------------------------------------------------------------------------

    def _make_datagrams(self) -> Datagrams | None:
        config = self._config
        if not config.datagrams.enabled:
            return None
        return Datagrams(
            config.datagrams,
            reception=self._fleet.reception,
            outbox=self._fleet.outbox,
            secure=self._secure if config.dtls.enabled else None,
            ports=self._ports,
        )

    def _make_coap(self, services: list[MakeService]) -> Coap | None:
        config = self._config
        if not config.coap.enabled:
            return None
        return Coap(
            config.coap,
            messages=config.messages,
            reception=self._fleet.reception,
            outbox=self._fleet.outbox,
            clock=self._node.clock,
            services=services,
            ports=self._ports,
        )

    def _make_coaps(self, services: list[MakeService]) -> Coaps | None:
        config = self._config
        if not config.coaps.enabled:
            return None
        return Coaps(
            config.coaps,
            config.coap,
            config.messages,
            reception=self._fleet.reception,
            outbox=self._fleet.outbox,
            clock=self._node.clock,
            secure=self._secure,
            services=services,
            ports=self._ports,
        )

    def _make_radius(self) -> Radius | None:
        if not self._config.radius.nas:
            log.info("radius_off", hint="No table [[radius.nas]] in the configuration: no mobile core may ask.")
            return None
        return Radius(self._config.radius, cellular=self._fleet.cellular, clock=self._node.clock)

    def _make_gateways(self) -> GatewayListener | None:
        if not self._config.gateways.enabled:
            return None
        return GatewayListener(
            self._config.gateways,
            sessions=self._fleet.gateway_sessions,
            engine=self._node.engines.tls(),
            identification=self._fleet.identification,
            clock=self._node.clock,
            refused=self._node.refused,
            ports=self._ports,
        )

    def _coap_firmware(self, transport: Transport, local: Remote) -> CoapFirmware:
        return CoapFirmware(
            self._config.firmware, transport, local, firmware=self._fleet.firmware, reception=self._fleet.reception
        )

    def _coap_blobs(self, transport: Transport, _local: Remote) -> CoapBlobs:
        return CoapBlobs(
            self._config.blobs,
            self._config.coap,
            transport=transport,
            blobs=self._fleet.blobs,
            reception=self._fleet.reception,
            clock=self._node.clock,
        )
