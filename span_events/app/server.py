"""
The composition root: builds every part from a configuration, supervises them, and ends them in order.

No other module knows all parts; each part gets its collaborators by its constructor.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from span_events import __version__
from span_events.accepting import RefusedAccepts, warn_of_few_descriptors
from span_events.app.blobs import blob_listeners
from span_events.app.bounds import connections_of
from span_events.app.demo import start_demo
from span_events.app.endpoints import fill_endpoints
from span_events.app.engines import Engines
from span_events.app.measures import LoopLag, measures
from span_events.app.outputs import start_outputs
from span_events.app.shutdown import Started, shut_down
from span_events.app.supervisor import Supervisor
from span_events.app.wall_clock import LOOK, WallClockWatch
from span_events.auth.logins import Logins
from span_events.auth.tokens import Tokens
from span_events.bus.local import LocalBus
from span_events.clock import Clock, SystemClock
from span_events.config import Config
from span_events.events.history import History
from span_events.events.message import Transport
from span_events.fanout.hub import Hub
from span_events.fleet.fleet import Fleet
from span_events.ids import IdGenerator
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
from span_events.pki import dates, files
from span_events.pki.authority import Authority
from span_events.registry import location
from span_events.registry.model import Token
from span_events.registry.store import Store
from span_events.simulator.demo.seed import Demo
from span_events.web.mqtt.listener import MqttListener
from span_events.web.mqtt.service import MqttService
from span_events.web.mqtt.websocket import MqttWebSockets
from span_events.web.proxies import Proxies
from span_events.web.server import WebServer
from span_events.web.services import Services
from span_events.web.streams.admission import Admission
from span_events.web.streams.streams import Streams
from span_events.web.things_stack.console import ConsoleEvents
from span_events.web.things_stack.grpc import GrpcListener
from span_events.web.things_stack.http import HttpEvents
from span_events.web.things_stack.routes import routes_of
from span_events.web.things_stack.service import EventsService
from span_events.web.tls import HttpTls

log = get_logger("app")

_SWEEP: Final = 1.0
_MINUTE: Final = 60.0
"""Seconds between sweeps: idle sessions, expired messages, silent streams."""
_PROBE: Final = 10.0
"""Seconds between writes that only show whether the registry can be written."""
_DAY: Final = 86_400.0
"""Seconds between looks at certificates: which of ours to renew, which to forget."""
_LOOKS: Final = 12
"""Least number of checks in the life of the server's certificate; its last third is for renewal."""


class Server:
    """
    All parts of one process.

    Use it as a context manager: inside, all listeners are bound, at `addresses`.
    """

    def __init__(self, config: Config, *, data_dir: Path, clock: Clock | None = None) -> None:
        self.config = config
        self._data_dir = data_dir
        self._clock = clock or SystemClock()
        self._supervisor = Supervisor(self._clock)
        self._loop_lag = LoopLag()
        self._started = Started(self._supervisor)
        self._listeners: list[Listener] = []
        self._refused = RefusedAccepts(self._clock)
        self.addresses: dict[str, str] = {}
        """Bound addresses: listener name to ``host:port``."""
        self.datagrams: Datagrams | None = None
        self.coap: Coap | None = None
        self.coaps: Coaps | None = None
        self.radius: Radius | None = None
        self.gateway_listener: GatewayListener | None = None
        self.first_token: str | None = None
        """Text of the token that a first start made; it cannot be read again."""

    async def __aenter__(self) -> Self:
        """Start every part; on failure, stop the started ones again."""
        try:
            await self._start()
        except BaseException:
            with suppress(Exception):  # in the log already; the failure of the start matters more
                await shut_down(self._started)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every part, see `shut_down`."""
        await shut_down(self._started)

    @property
    def failed(self) -> asyncio.Future[None]:
        """Future that fails when a part ends that should run on."""
        return self._supervisor.failed

    # ---- start --------------------------------------------------------------------------------

    async def _start(self) -> None:
        config, clock = self.config, self._clock
        if not location.authority_exists(self._data_dir):
            dates.require_plausible(clock)  # before anything is written
        warn_of_few_descriptors(connections_of(config))
        location.prepare(self._data_dir)
        location.warn_if_open(self._data_dir)
        self._started.folder_lock = location.lock(self._data_dir)
        identifiers = IdGenerator(config.node)
        store = Store(location.database_url(config.registry, self._data_dir))
        await store.open()
        self._started.store = store
        await store.lock()
        contents = await store.load()

        self.identifiers = identifiers
        self.authority = await Authority.open(location.authority_folder(self._data_dir), config.pki, clock)
        key = files.create(self._data_dir / "login.key", secrets.token_bytes(32))
        self.logins = Logins(store.accounts, config.logins, key=key, identifiers=identifiers, clock=clock)
        self.tokens = Tokens(store, identifiers, clock, logins=self.logins)
        await self.tokens.load()
        self.bus = LocalBus(clock, identifiers)
        self.history = History(
            per_collection=config.events.history_per_collection,
            total=config.events.history_total,
            octets=config.events.history_octets,
            age=config.events.history_age,
            born=identifiers.next(clock.time_ns()),
        )
        self.hub = Hub(config.fanout, clock, identifiers)
        self.bus.listen(activities=self.history.append)
        self.bus.listen(activities=self.hub.show, messages=self.hub.show_message)

        self.fleet = Fleet(
            config,
            folder=self._data_dir,
            bus=self.bus,
            store=store,
            authority=self.authority,
            clock=clock,
        )
        self._started.fleet = self.fleet
        await self.fleet.fill(contents)
        self._engines = Engines(self.authority, clock)
        self._started.outputs = start_outputs(config.outputs, self.fleet, self.bus, clock)
        self._brokers = Brokers(config.chirpstack, bus=self.bus, fleet=self.fleet, clock=clock)
        self._make_dtls()
        self._tls = self._engines.tls()
        await self._start_web()
        await self._start_listeners()
        await self._make_first_token()  # last: after a failed start, nobody would have seen the only token
        if config.chirpstack.brokers:
            self._supervisor.run("chirpstack", self._brokers.run)
        every = self._supervisor.every
        every(_SWEEP, "sweep", self.fleet.sweep)
        if self._http_tls is not None and config.http.tls == "files":
            every(_MINUTE, "http_tls", self._http_tls.refresh)
        every(_MINUTE, "history", lambda: self.history.sweep(clock.time_ns()))
        every(_SWEEP, "streams", lambda: self.streams.sweep(clock.monotonic()))
        every(_SWEEP, "console", lambda: self._console.sweep(clock.monotonic()))
        every(_SWEEP, "connections", self.web.sweep)
        self._supervisor.run("http", self.web.run)
        every(config.registry.flush_interval, "registry", self.fleet.flush)
        every(_PROBE, "registry_write", lambda: store.probe())  # noqa: PLW0108
        every(_PROBE, "files", lambda: asyncio.to_thread(location.probe, self._data_dir))
        every(config.registry.watch_interval, "tokens", self._watch_tokens)
        every(config.registry.flush_interval, "token_uses", self.tokens.flush)
        self._supervisor.run("loop_lag", self._loop_lag.run)
        self._wall_clock = WallClockWatch(clock)
        every(LOOK, "clock", self._watch_clock)
        every(min(_DAY, config.pki.server_validity / _LOOKS), "certificates", self._renew_certificates)
        log.info("started", version=__version__, **self.addresses)

    async def _make_first_token(self) -> None:
        if not len(self.tokens):
            _, self.first_token = await self.tokens.create(resource="/", write=True, name="admin (first start)")

    async def _start_web(self) -> None:
        config = self.config
        self._http_tls = tls = None if config.http.tls == "off" else HttpTls(config.http, self._engines.identities)
        if tls is not None:
            self._engines.on_renewed.append(lambda _: tls.refresh())
        admission = Admission(config.streams, Proxies(config.http.proxies), self.hub, self._refused)
        self.streams = Streams(
            http=config.http,
            streams=config.streams,
            events=config.events,
            fanout=config.fanout,
            hub=self.hub,
            history=self.history,
            inbox=self.fleet.reception.inbox,
            directory=self.fleet.directory,
            facts=self.fleet.facts,
            tokens=self.tokens,
            admission=admission,
            clock=self._clock,
        )
        self._things_stack = EventsService(
            streams=config.streams,
            hub=self.hub,
            history=self.history,
            directory=self.fleet.directory,
            tokens=self.tokens,
            clock=self._clock,
            identifiers=self.identifiers,
            admission=admission,
            host=socket.gethostname(),
        )
        self._console = ConsoleEvents(
            config.things_stack, config.streams, config.fanout, self._things_stack, admission, self._clock
        )
        self._mqtt = MqttService(
            config.mqtt,
            config.fanout,
            self.hub,
            self.tokens,
            self.fleet.directory,
            self.fleet.facts,
            admission,
            self._clock,
        )
        mqtt = MqttWebSockets(self._mqtt, config.http, config.streams, admission, self.streams.refusals)
        self.web = WebServer(
            config.http,
            Services(
                config=config,
                clock=self._clock,
                identifiers=self.identifiers,
                tokens=self.tokens,
                logins=self.logins,
                fleet=self.fleet,
                history=self.history,
                streams=self.streams,
                things_stack=routes_of(
                    HttpEvents(config.things_stack, config.fanout, self._things_stack, admission), self._console
                ),
                mqtt=mqtt.routes() if config.mqtt.enabled else (),
                health=self.health,
                metrics=self.metrics,
            ),
            refused=self._refused,
            tls=self._http_tls,
        )
        self._started.web = self.web
        self._started.shutdown_timeout = config.http.shutdown_timeout
        await self.web.start()
        self._started.streams = [self.streams, self._console]
        self.addresses["http"] = self.web.address

    def _make_dtls(self) -> None:
        """Create the parts that the DTLS listeners share."""
        self._secure = DtlsContext(
            config=self.config.dtls,
            engine=self._engines.dtls(mtu=self.config.dtls.mtu),
            reception=self.fleet.reception,
            identification=self.fleet.identification,
            used=self.fleet.certificates.used,
            clock=self._clock,
        )

    async def _start_listeners(self) -> None:
        config = self.config
        services: list[MakeService] = [self._coap_firmware]
        if config.blobs.enabled:
            services.append(self._coap_blobs)
        ports = Ports()
        if config.datagrams.enabled:
            secure = self._secure if config.dtls.enabled else None
            self.datagrams = Datagrams(
                config.datagrams, reception=self.fleet.reception, outbox=self.fleet.outbox, secure=secure, ports=ports
            )
            self._listeners.append(self.datagrams)
        if config.coap.enabled:
            self.coap = Coap(
                config.coap,
                messages=config.messages,
                reception=self.fleet.reception,
                outbox=self.fleet.outbox,
                clock=self._clock,
                services=services,
                ports=ports,
            )
            self._listeners.append(self.coap)
        if config.coaps.enabled:
            self.coaps = Coaps(
                config.coaps,
                config.coap,
                config.messages,
                reception=self.fleet.reception,
                outbox=self.fleet.outbox,
                clock=self._clock,
                secure=self._secure,
                services=services,
                ports=ports,
            )
            self._listeners.append(self.coaps)
        if config.radius.nas:
            self.radius = Radius(config.radius, cellular=self.fleet.cellular, clock=self._clock)
            self._listeners.append(self.radius)
        else:
            log.info("radius_off", hint="No table [[radius.nas]] in the configuration: no mobile core may ask.")
        if config.gateways.enabled:
            self.gateway_listener = GatewayListener(
                config.gateways,
                sessions=self.fleet.gateway_sessions,
                engine=self._tls,
                identification=self.fleet.identification,
                clock=self._clock,
                refused=self._refused,
                ports=ports,
            )
            self._listeners.append(self.gateway_listener)
        if config.blobs.enabled:
            self._listeners += blob_listeners(
                config.blobs, self._engines, fleet=self.fleet, clock=self._clock, refused=self._refused, ports=ports
            )
        if config.things_stack.grpc:
            self._listeners.append(self._grpc_listener())
        if config.mqtt.enabled:
            self._listeners.append(self._mqtt_listener())
        for listener in self._listeners:  # bind all before serving any
            await listener.start()
            self._started.listeners.append(listener)
            self.addresses[listener.name] = listener.address
        if self.radius is not None:
            self.addresses["radius-accounting"] = self.radius.accounting_address
        ports.fill(self.addresses, dtls=config.dtls.enabled)
        fill_endpoints(config, self.addresses, self.fleet.directory)
        for listener in self._listeners:
            self._supervisor.run(listener.name, listener.run)

    def _coap_firmware(self, transport: Transport, local: Remote) -> CoapFirmware:
        return CoapFirmware(
            self.config.firmware, transport, local, firmware=self.fleet.firmware, reception=self.fleet.reception
        )

    def _coap_blobs(self, transport: Transport, _local: Remote) -> CoapBlobs:
        return CoapBlobs(
            self.config.blobs,
            self.config.coap,
            transport=transport,
            blobs=self.fleet.blobs,
            reception=self.fleet.reception,
            clock=self._clock,
        )

    def _grpc_listener(self) -> GrpcListener:
        listener = GrpcListener(
            self.config.things_stack,
            self.config.fanout,
            self._things_stack,
            identities=self._engines.identities(),
            clock=self._clock,
            refused=self._refused,
        )
        self._engines.on_renewed.append(listener.present)
        self._started.streams.append(listener)
        return listener

    def _mqtt_listener(self) -> MqttListener:
        listener = MqttListener(self._mqtt, identities=self._engines.identities(), refused=self._refused)
        self._engines.on_renewed.append(listener.present)
        self._started.streams.append(listener)
        return listener

    # ---- while it runs ------------------------------------------------------------------------

    async def start_demo(self) -> Demo:
        """Seed the demo and let its devices send until the server stops."""
        return await start_demo(
            self.config,
            bus=self.bus,
            fleet=self.fleet,
            tokens=self.tokens,
            addresses=self.addresses,
            supervisor=self._supervisor,
            folder=self._data_dir,
            clock=self._clock,
            cause=self.bus.new_id(),
        )

    def health(self) -> dict[str, str]:
        """Return the health of each part: ``ok``, or a sentence that names the failure."""
        health = {
            "registry": "ok",
            "files": "ok",
            **({"server": "stops now"} if self._started.is_stopping else {}),
            "certificates": self.authority.fault() or "ok",
            **dict.fromkeys(self.addresses, "ok"),
            **self._refused.health(),
            **self._supervisor.failing,
        }
        return health | ({"radius-accounting": self.radius.health} if self.radius is not None else {})

    def metrics(self) -> list[Measure]:
        """List the metrics; each bound of the configuration has its gauge."""
        assert self._started.store is not None, "the server has started"
        process = measures(
            data_dir=self._data_dir,
            directory=self.fleet.directory,
            health=self.health,
            listeners=self._listeners,
        )
        return [
            *process,
            *self._loop_lag.metrics(),
            *self._started.store.metrics(),
            *self.bus.metrics(),
            *self.hub.metrics(),
            *self.logins.metrics(),
            *self.web.metrics(),
            *self.streams.metrics(),
            *self._things_stack.metrics(),
            *self._console.metrics(),
            *self.history.metrics(),
            *self.fleet.metrics(),
            *self._secure.metrics(),
            *self.authority.metrics(),
            *self._wall_clock.metrics(),
            *self._refused.metrics(),
            *self._brokers.metrics(),
            *(metric for listener in self._listeners for metric in listener.metrics()),
        ]

    async def _renew_certificates(self) -> None:
        await self.reload()  # first: it must not depend on the registry
        await self.fleet.certificates.prune()

    async def reload(self) -> bool:
        """
        Read the server's certificates again, and renew them if it is time; true if they changed.

        Raises:
            StorageUnavailable: The certificates cannot be read or written; the old ones stay.
        """
        changed = await self.authority.renew()
        if changed:
            self._engines.renewed()
        return changed

    async def _watch_clock(self) -> None:
        """After a step, renew the server's certificates; prune nothing, as the step may be taken back."""
        if self._wall_clock.stepped() or self.authority.fault():
            await self.reload()

    async def _watch_tokens(self) -> None:
        self._revoke(self.tokens.expired(), "the token has expired")  # first: it needs no registry
        self._revoke(await self.tokens.refresh(), "the token was revoked")

    def _revoke(self, tokens: list[Token], why: str) -> None:
        self.streams.revoke(tokens, why)
        self._mqtt.revoke(tokens, why)
