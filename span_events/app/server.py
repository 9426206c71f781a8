"""
The composition root: builds every part from a configuration, supervises them, and ends them in order.

No other module knows all parts; each part gets its collaborators by its constructor. `roles/` holds what a node of
each role consists of.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from span_events import __version__
from span_events.accepting import warn_of_few_descriptors
from span_events.app.bounds import connections_of
from span_events.app.demo import start_demo
from span_events.app.measures import LoopLag, measures
from span_events.app.roles.base import Role
from span_events.app.roles.devices import DeviceListeners
from span_events.app.roles.node import Node
from span_events.app.roles.subscribers import Subscribers
from span_events.app.shutdown import shut_down
from span_events.clock import Clock, SystemClock
from span_events.config import Config
from span_events.listeners.base import Listener
from span_events.log import get_logger
from span_events.metrics import Measure
from span_events.simulator.demo.seed import Demo
from span_events.web.app import make_app, make_monitoring_app
from span_events.web.server import WebServer
from span_events.web.services import Services
from span_events.web.tls import HttpTls

log = get_logger("app")

_SWEEP: Final = 1.0
"""Seconds between looks at connections whose clients are overdue."""
_MINUTE: Final = 60.0
"""Seconds between looks at the files of the HTTP port's certificate."""


class Server:
    """
    All parts of one process.

    Use it as a context manager: inside, all listeners are bound, at `addresses`.
    """

    def __init__(self, config: Config, *, data_dir: Path, clock: Clock | None = None) -> None:
        self.config = config
        self.node = Node(config, data_dir=data_dir, clock=clock or SystemClock())
        self.addresses = self.node.addresses
        """Bound addresses: listener name to ``host:port``."""
        self.first_token: str | None = None
        """Text of the token that a first start made; it cannot be read again."""
        self._loop_lag = LoopLag()
        self._devices: DeviceListeners | None = None
        self._subscribers: Subscribers | None = None
        self._listeners: list[Listener] = []

    async def __aenter__(self) -> Self:
        """Start every part; on failure, stop the started ones again."""
        try:
            await self._start()
        except BaseException:
            with suppress(Exception):  # in the log already; the failure of the start matters more
                await shut_down(self.node.started)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every part, see `shut_down`."""
        await shut_down(self.node.started)

    @property
    def failed(self) -> asyncio.Future[None]:
        """Future that fails when a part ends that should run on."""
        return self.node.supervisor.failed

    @property
    def devices(self) -> DeviceListeners:
        """The listeners of devices."""
        assert self._devices is not None, "a node of role web has none"
        return self._devices

    @property
    def subscribers(self) -> Subscribers:
        """The streams of every form."""
        assert self._subscribers is not None, "a node of role devices has none"
        return self._subscribers

    @property
    def _roles(self) -> list[Role]:
        roles: tuple[Role | None, ...] = (self._devices, self._subscribers)
        return [each for each in roles if each is not None]

    # ---- start --------------------------------------------------------------------------------

    async def _start(self) -> None:
        node = self.node
        warn_of_few_descriptors(connections_of(self.config))
        await node.open()
        self.bus, self.hub, self.history, self.fleet = node.bus, node.hub, node.history, node.fleet
        self.tokens, self.logins, self.authority = node.tokens, node.logins, node.authority
        if self.config.role != "web":
            self._devices = DeviceListeners(node)
        if self.config.role != "devices":
            self._subscribers = Subscribers(node)
        await self._start_web()
        await self._start_listeners()
        if self._subscribers is not None:
            await self._make_first_token()  # last: after a failed start, nobody would have seen the only token
        node.run()
        for role in self._roles:
            role.run()
        node.supervisor.run("loop_lag", self._loop_lag.run)
        log.info("started", version=__version__, **self.addresses)

    async def _make_first_token(self) -> None:
        if len(self.tokens):
            return
        async with self.fleet.registry.lock:  # of nodes that start at the same moment, one makes it
            await self.tokens.refresh()
            if len(self.tokens):
                return
            _, self.first_token = await self.tokens.create(resource="/", write=True, name="admin (first start)")

    async def _start_web(self) -> None:
        node, config = self.node, self.config.http
        tls = None if config.tls == "off" else HttpTls(config, node.engines.identities)
        if tls is not None:
            node.engines.on_renewed.append(lambda _: tls.refresh())
            if config.tls == "files":
                node.supervisor.every(_MINUTE, "http_tls", tls.refresh)
        services = self._services()
        subscribers = self._subscribers
        app = make_monitoring_app(services) if subscribers is None else make_app(services, subscribers.routes)
        self.web = WebServer(config, app, refused=node.refused, tls=tls, shared=self.config.shared_ports)
        node.started.shutdown_timeout = config.shutdown_timeout
        await self._start_port(self.web)
        monitoring = self.config.monitoring
        if monitoring.enabled:
            place = {"host": monitoring.host, "port": monitoring.port}
            app = make_monitoring_app(services)
            port = WebServer(config.model_copy(update=place), app, refused=node.refused, name="monitoring")
            await self._start_port(port)

    async def _start_port(self, port: WebServer) -> None:
        self.node.started.web.append(port)
        await port.start()
        self.addresses[port.name] = port.address
        self.node.supervisor.every(_SWEEP, "connections", port.sweep)
        self.node.supervisor.run(port.name, port.run)

    def _services(self) -> Services:
        node = self.node
        return Services(
            config=self.config,
            clock=node.clock,
            identifiers=node.identifiers,
            tokens=node.tokens,
            logins=node.logins,
            fleet=node.fleet,
            history=node.history,
            hub=node.hub,
            health=self.health,
            metrics=self.metrics,
        )

    async def _start_listeners(self) -> None:
        started = self.node.started
        for role in self._roles:
            started.streams += role.closing
            self._listeners += role.listeners
        for listener in self._listeners:  # bind all before serving any
            await listener.start()
            started.listeners.append(listener)
            self.addresses[listener.name] = listener.address
        for role in self._roles:
            role.bound()
        for listener in self._listeners:
            self.node.supervisor.run(listener.name, listener.run)

    # ---- while it runs ------------------------------------------------------------------------

    async def start_demo(self) -> Demo:
        """Seed the demo and let its devices send until the server stops."""
        return await start_demo(
            self.config,
            bus=self.bus,
            fleet=self.fleet,
            tokens=self.tokens,
            addresses=self.addresses,
            supervisor=self.node.supervisor,
            folder=self.node.data_dir,
            clock=self.node.clock,
            cause=self.bus.new_id(),
        )

    def health(self) -> dict[str, str]:
        """Return the health of each part: ``ok``, or a sentence that names the failure."""
        found = self.node.health()
        for role in self._roles:
            found |= role.health()
        return found

    def metrics(self) -> list[Measure]:
        """List the metrics; each bound of the configuration has its gauge."""
        process = measures(
            data_dir=self.node.data_dir,
            registry=self.fleet.registry,
            health=self.health,
            listeners=self._listeners,
        )
        return [
            *process,
            *self._loop_lag.metrics(),
            *self.node.metrics(),
            *self.web.metrics(),
            *(metric for role in self._roles for metric in role.metrics()),
            *(metric for listener in self._listeners for metric in listener.metrics()),
        ]

    async def reload(self) -> bool:
        """
        Read the server's certificates again, and renew them if it is time; true if they changed.

        Raises:
            StorageUnavailable: The certificates cannot be read or written; the old ones stay.
        """
        return await self.node.reload()
