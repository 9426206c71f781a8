"""
The composition root: builds every part from a configuration, supervises them, and ends them in order.

Nothing else knows all the parts; each gets what it uses by its constructor.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from span_events import __version__
from span_events.auth.tokens import Tokens
from span_events.bus.local import LocalBus
from span_events.clock import Clock, SystemClock
from span_events.config import Config
from span_events.events.history import History
from span_events.events.message import Transport
from span_events.fanout.hub import Hub
from span_events.fleet.blobs import Blobs
from span_events.fleet.cellular import Cellular
from span_events.fleet.certificates import Certificates
from span_events.fleet.collections import Collections
from span_events.fleet.devices import Devices
from span_events.fleet.downstream import Outbox
from span_events.fleet.firmware import Firmware
from span_events.fleet.gateway_sessions import GatewaySessions
from span_events.fleet.gateways import Gateways
from span_events.fleet.images import Images
from span_events.fleet.psks import Psks
from span_events.fleet.reception import Reception
from span_events.fleet.sessions import Remote, render_remote
from span_events.ids import IdGenerator
from span_events.listeners.base import Listener
from span_events.listeners.binding import bind
from span_events.listeners.blob_callers import PlainEntrance, TlsEntrance
from span_events.listeners.blobs import BlobListener
from span_events.listeners.coap import Coap
from span_events.listeners.coap_blobs import CoapBlobs
from span_events.listeners.coap_firmware import CoapFirmware
from span_events.listeners.coap_service import MakeService
from span_events.listeners.coaps import Coaps
from span_events.listeners.datagrams import Datagrams
from span_events.listeners.dtls import Secure
from span_events.listeners.gateways import GatewayListener
from span_events.listeners.radius import Radius
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.pki.authority import Authority
from span_events.registry import location
from span_events.registry.directory import Directory
from span_events.registry.files import Files
from span_events.registry.model import GatewayType
from span_events.registry.store import Store
from span_events.simulator.demo import make_mobile_core, run_demo
from span_events.simulator.demo_gateway import Keyring, run_demo_gateway
from span_events.simulator.devices import Targets
from span_events.simulator.seed import Demo, seed
from span_events.simulator.seed_firmware import DemoFirmware
from span_events.simulator.sockets import reachable
from span_events.web.app import Services, make_app
from span_events.web.streams import Streams
from span_events.wire.dtls_openssl import OpensslEngine
from span_events.wire.openssl import Identity
from span_events.wire.tls_openssl import TlsEngine

log = get_logger("app")

_SWEEP: Final = 1.0
"""Seconds between looks at what time brings: idle sessions, expired messages, silent streams."""
_DAY: Final = 86_400.0
"""Seconds between looks at certificates: which of ours to renew, which to forget."""
_LOOKS: Final = 12
"""How often the server's certificate is looked at in its life, at least; the last third of it is for renewal."""
_BACKLOG: Final = 4096
"""Connections that may wait to be accepted."""


class Server:
    """
    Everything that one process serves.

    Use it as a context manager: inside, all listeners are bound and `addresses` tells where.
    """

    def __init__(self, config: Config, *, data_dir: Path, clock: Clock | None = None) -> None:
        self.config = config
        self._data_dir = data_dir
        self._clock = clock or SystemClock()
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self._listeners: list[Listener] = []
        self.addresses: dict[str, str] = {}
        """What is bound: listener to ``host:port``."""
        self.datagrams: Datagrams | None = None
        self.coap: Coap | None = None
        self.coaps: Coaps | None = None
        self.radius: Radius | None = None
        self.gateway_listener: GatewayListener | None = None
        self._registry_health = "ok"
        self._on_identities: list[Callable[[Sequence[Identity]], None]] = []
        """Called with what the server shows of itself in handshakes, once that is renewed."""
        self.first_token: str | None = None
        """Text of the token that a first start made; nobody can ask for it again."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, with an exception, when a part ended that should have gone on."""

    async def __aenter__(self) -> Self:
        """Start every part; on failure, what was started is stopped again."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """
        Stop in the order that loses least.

        No new datagrams, then no new streams and the end of all others (1001), then no new requests,
        then what is not yet in the registry is written, then the registry is closed.
        """
        await self._stack.aclose()

    # ---- start --------------------------------------------------------------------------------

    async def _start(self) -> None:
        config, clock = self.config, self._clock
        location.prepare(self._data_dir)
        self._stack.callback(location.lock(self._data_dir).close)
        identifiers = IdGenerator(config.node)
        store = Store(location.database_url(config.registry, self._data_dir))
        await store.open()
        self._stack.push_async_callback(store.close)
        contents = await store.load()

        self.identifiers = identifiers
        self.directory = Directory()
        self.directory.fill(
            collections=contents.collections,
            devices=contents.devices,
            certificates=contents.certificates,
            gateways=contents.gateways,
            images=contents.images,
            blobs=contents.blobs,
        )
        self.authority = await Authority.open(self._data_dir / "pki", config.pki, clock)
        self.tokens = Tokens(store, identifiers, clock)
        await self.tokens.load()
        self.bus = LocalBus(clock, identifiers)
        self.history = History(
            per_collection=config.events.history_per_collection,
            total=config.events.history_total,
            born=identifiers.next(clock.time_ns()),
        )
        self.hub = Hub(config.fanout, clock, identifiers)
        self.bus.listen(activities=self.history.append)
        self.bus.listen(activities=self.hub.show, messages=self.hub.show_message)

        registry_lock = asyncio.Lock()
        self.collections = Collections(
            store=store, directory=self.directory, lock=registry_lock, clock=clock, identifiers=identifiers
        )
        self.image_files = Files(self._data_dir / "firmware")
        self.image_files.prepare(image.id for image in contents.images)
        self._stack.callback(self.image_files.close)
        self.images = Images(
            config.firmware,
            files=self.image_files,
            store=store,
            directory=self.directory,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.outbox = Outbox(
            config.downstream,
            bus=self.bus,
            store=store,
            directory=self.directory,
            clock=clock,
            identifiers=identifiers,
        )
        self.outbox.fill(contents.downstream)
        self.reception = Reception(
            messages=config.messages,
            sessions=config.sessions,
            rejections=config.rejections,
            bus=self.bus,
            store=store,
            directory=self.directory,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.devices = Devices(
            bus=self.bus,
            store=store,
            directory=self.directory,
            reception=self.reception,
            outbox=self.outbox,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.firmware = Firmware(
            config.firmware,
            reception=self.reception,
            bus=self.bus,
            files=self.image_files,
            store=store,
            directory=self.directory,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.firmware.attend(self.images, self.collections, self.devices)
        self.firmware.prepare()
        blob_files = Files(self._data_dir / "blobs")
        blob_files.prepare(blob.id for blob in contents.blobs)
        self._stack.callback(blob_files.close)
        self.blobs = Blobs(
            config.blobs,
            reception=self.reception,
            bus=self.bus,
            files=blob_files,
            store=store,
            directory=self.directory,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self._stack.push_async_callback(self.blobs.close)
        self.certificates = Certificates(
            config.pki,
            authority=self.authority,
            bus=self.bus,
            store=store,
            directory=self.directory,
            lock=registry_lock,
            clock=clock,
        )
        await self.certificates.prune()
        self.gateway_sessions = GatewaySessions(
            config.gateways,
            config.rejections,
            bus=self.bus,
            directory=self.directory,
            reception=self.reception,
            outbox=self.outbox,
            used=self.certificates.used,
            clock=clock,
            identifiers=identifiers,
        )
        self.gateway_sessions.follow(self.devices, self.outbox, self.certificates)
        self.gateways = Gateways(
            bus=self.bus,
            store=store,
            directory=self.directory,
            sessions=self.gateway_sessions,
            outbox=self.outbox,
            lock=registry_lock,
            clock=clock,
            identifiers=identifiers,
        )
        self.psks = Psks(bus=self.bus, store=store, directory=self.directory, lock=registry_lock)
        self.cellular = Cellular(
            config.cellular,
            rejections=config.rejections,
            interim_intervals=config.radius.interim_intervals(),
            bus=self.bus,
            store=store,
            directory=self.directory,
            reception=self.reception,
            clock=clock,
            identifiers=identifiers,
        )
        self.cellular.fill(contents.attachments, contents.reservations)
        self.devices.on_created.append(self.cellular.device_created)
        self.devices.on_updated.append(self.cellular.device_updated)
        self.devices.on_removed.append(self.cellular.device_removed)
        self._stack.push_async_callback(self._flush)
        self._stack.callback(self.firmware.close)
        self._make_dtls()
        self._make_tls()
        await self._start_web()
        await self._start_listeners()
        await self._make_first_token()  # last: a token that nobody gets to see would be the only one
        self._every(_SWEEP, self._sweep)
        self._every(config.registry.flush_interval, self._flush)
        self._every(config.registry.watch_interval, self._watch_tokens)
        self._every(min(_DAY, config.pki.server_validity / _LOOKS), self._renew_certificates)
        log.info("started", version=__version__, **self.addresses)

    async def _make_first_token(self) -> None:
        if not len(self.tokens):
            _, self.first_token = await self.tokens.create(resource="/", write=True, name="admin (first start)")

    async def _start_web(self) -> None:
        config = self.config
        self.streams = Streams(
            http=config.http,
            streams=config.streams,
            events=config.events,
            fanout=config.fanout,
            hub=self.hub,
            history=self.history,
            directory=self.directory,
            tokens=self.tokens,
        )
        app = make_app(
            Services(
                config=config,
                clock=self._clock,
                identifiers=self.identifiers,
                directory=self.directory,
                tokens=self.tokens,
                collections=self.collections,
                devices=self.devices,
                gateways=self.gateways,
                gateway_sessions=self.gateway_sessions,
                reception=self.reception,
                outbox=self.outbox,
                certificates=self.certificates,
                psks=self.psks,
                images=self.images,
                firmware=self.firmware,
                blobs=self.blobs,
                streams=self.streams,
                health=self.health,
                metrics=self.metrics,
            )
        )
        runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=config.http.shutdown_timeout
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        bound = bind("http", config.http.host, config.http.port, socket.SOCK_STREAM)
        await web.SockSite(runner, bound, backlog=_BACKLOG).start()
        self._stack.push_async_callback(self.streams.close)
        self.addresses["http"] = render_remote(bound.getsockname()[:2])

    def _make_dtls(self) -> None:
        """Make what the DTLS listeners share, and let the fleet's changes reach it."""
        authority, clock = self.authority, self._clock
        self._engine = OpensslEngine(
            self._identities(),
            authority.trusted_pem() + b"".join(authority.intermediates_pem()),
            unix_time=lambda: clock.time_ns() // 1_000_000_000,
            mtu=self.config.dtls.mtu,
        )
        self._secure = Secure(
            config=self.config.dtls,
            engine=self._engine,
            reception=self.reception,
            directory=self.directory,
            issuer_of=authority.issuer_of,
            used=self.certificates.used,
            clock=clock,
        )
        authority.on_intermediate.append(self._engine.trust)
        self._on_identities.append(self._engine.present)
        self.certificates.on_revoked.append(self.reception.certificate_revoked)
        self.psks.on_changed.append(self.reception.psk_changed)

    def _make_tls(self) -> None:
        """Make what listeners for gateways share."""
        authority, clock = self.authority, self._clock
        self._tls = TlsEngine(
            self._identities(),
            authority.trusted_pem() + b"".join(authority.intermediates_pem()),
            unix_time=lambda: clock.time_ns() // 1_000_000_000,
        )
        authority.on_intermediate.append(self._tls.trust)
        self._on_identities.append(self._tls.present)

    def _identities(self) -> list[Identity]:
        """What the server shows in handshakes, for each kind of key."""
        shown = self.authority.server_identity()
        found = [Identity(shown.key_pem, shown.certificates_pem)]
        return found + ([Identity(shown.rsa.key_pem, shown.rsa.certificates_pem)] if shown.rsa else [])

    async def _start_listeners(self) -> None:
        config = self.config
        services: list[MakeService] = [self._coap_firmware]
        if config.blobs.enabled:
            services.append(self._coap_blobs)
        if config.datagrams.enabled:
            secure = self._secure if config.dtls.enabled else None
            self.datagrams = Datagrams(config.datagrams, reception=self.reception, outbox=self.outbox, secure=secure)
            self._listeners.append(self.datagrams)
        if config.coap.enabled:
            self.coap = Coap(
                config.coap,
                messages=config.messages,
                reception=self.reception,
                outbox=self.outbox,
                clock=self._clock,
                services=services,
            )
            self._listeners.append(self.coap)
        if config.coaps.enabled:
            self.coaps = Coaps(
                config.coaps,
                config.coap,
                config.messages,
                reception=self.reception,
                outbox=self.outbox,
                clock=self._clock,
                secure=self._secure,
                services=services,
            )
            self._listeners.append(self.coaps)
        if config.radius.nas:
            self.radius = Radius(config.radius, cellular=self.cellular, clock=self._clock)
            self._listeners.append(self.radius)
        else:
            log.info("radius_off", hint="No table [[radius.nas]] in the configuration: no mobile core may ask.")
        if config.gateways.enabled:
            self.gateway_listener = GatewayListener(
                config.gateways,
                sessions=self.gateway_sessions,
                engine=self._tls,
                issuer_of=self.authority.issuer_of,
                clock=self._clock,
            )
            self._listeners.append(self.gateway_listener)
        if config.blobs.enabled:
            self._listeners += self._blob_listeners()
        for listener in self._listeners:  # bind all before serving any
            await listener.start()
            self._stack.push_async_callback(listener.stop)
            self.addresses[listener.name] = listener.address
        if self.radius is not None:
            self.addresses["radius-accounting"] = self.radius.accounting_address
        self._show_endpoints()
        for listener in self._listeners:
            self._supervise(listener.run, listener.name)

    def _show_endpoints(self) -> None:
        """Let the built-in gateways say where devices reach them."""
        names, endpoints = self.config.pki.server_names, self.directory.endpoints

        def endpoint(listener: str) -> str:
            host, _, port = self.addresses.get(listener, "").rpartition(":")
            everywhere = bool(host) and ipaddress.ip_address(host.strip("[]")).is_unspecified
            return f"{names[0] if names and everywhere else host}:{port}" if host else ""

        endpoints[GatewayType.CIOT].update(udpEndpoint=endpoint("datagrams"), coapEndpoint=endpoint("coap"))
        endpoints[GatewayType.INET].update(
            dtlsEndpoint=endpoint("datagrams") if self.config.dtls.enabled else "", coapEndpoint=endpoint("coaps")
        )

    def _coap_firmware(self, transport: Transport, local: Remote) -> CoapFirmware:
        return CoapFirmware(self.config.firmware, transport, local, firmware=self.firmware, reception=self.reception)

    def _coap_blobs(self, transport: Transport, _local: Remote) -> CoapBlobs:
        return CoapBlobs(
            self.config.blobs,
            self.config.coap,
            transport=transport,
            blobs=self.blobs,
            reception=self.reception,
            clock=self._clock,
        )

    def _blob_listeners(self) -> list[BlobListener]:
        config, authority = self.config.blobs, self.authority
        secure = TlsEntrance(
            config,
            self._identities(),
            authority.trusted_pem() + b"".join(authority.intermediates_pem()),
            reception=self.reception,
            directory=self.directory,
            issuer_of=authority.issuer_of,
            used=self.certificates.used,
            clock=self._clock,
        )
        authority.on_intermediate.append(secure.trust)
        self._on_identities.append(secure.present)
        plain = PlainEntrance(self.reception, self.directory)
        return [
            BlobListener(
                name, config, setting=setting, port=port, entrance=entrance, blobs=self.blobs, clock=self._clock
            )
            for name, setting, port, entrance in (
                ("blobs", "blobs.port", config.port, plain),
                ("blobs_tls", "blobs.tls_port", config.tls_port, secure),
            )
        ]

    # ---- while it runs ------------------------------------------------------------------------

    def _supervise(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        """Run something that must not end by itself."""

        async def watched() -> None:
            try:
                await work()
                raise RuntimeError(f"{name} ended by itself")
            except Exception as exc:
                log.exception("part_failed", part_failed=name)
                if not self.failed.done():
                    self.failed.set_exception(exc)

        task = asyncio.get_running_loop().create_task(watched(), name=name)
        self._tasks.append(task)
        self._stack.push_async_callback(_cancel, task)

    def _every(self, seconds: float, action: Callable[[], Awaitable[None]]) -> None:
        """Repeat something; a failure does not end the repetition, and a row of failures is one line in the log."""

        async def repeat() -> None:
            failed = 0
            while True:
                await self._clock.sleep(seconds)
                try:
                    await action()
                except Exception:
                    if not failed:
                        log.exception("repeated_action_failed", action=action.__name__)
                    failed += 1
                else:
                    if failed:
                        log.info("repeated_action_works_again", action=action.__name__, failed=failed)
                    failed = 0

        self._supervise(repeat, action.__name__)

    async def start_demo(self) -> Demo:
        """Seed the demo and let its devices send until the server stops."""
        core = make_mobile_core(
            self.config, _target(self.addresses, "radius"), _target(self.addresses, "radius-accounting")
        )
        gateways = _target(self.addresses, "gateways")
        cause = self.identifiers.next(self._clock.time_ns())
        demo = await seed(
            collections=self.collections,
            devices=self.devices,
            gateways=None if gateways is None else self.gateways,
            directory=self.directory,
            tokens=self.tokens,
            firmware=DemoFirmware(
                self.images,
                collections=self.collections,
                devices=self.devices,
                directory=self.directory,
                cause=cause,
            )
            if "coap" in self.addresses
            else None,
            attach=core is not None,
            cause=cause,
        )
        targets = Targets(datagrams=_target(self.addresses, "datagrams"), coap=_target(self.addresses, "coap"))
        members = [each for each in demo.members if targets.of(each.transport)]
        if members:
            self._supervise(partial(run_demo, targets=targets, members=members, core=core), "demo")
        if gateways is not None and demo.gateway is not None:
            keyring = Keyring(self._data_dir, self.certificates, self._clock)
            work = partial(run_demo_gateway, gateway=demo.gateway, sensors=demo.sensors, keyring=keyring)
            self._supervise(partial(work, target=reachable(gateways)), "demo-gateway")
        return demo

    def health(self) -> dict[str, str]:
        """Tell of each part whether it is well."""
        health = {"registry": self._registry_health} | dict.fromkeys(self.addresses, "ok")
        return health | ({"radius-accounting": self.radius.health} if self.radius is not None else {})

    def metrics(self) -> list[Metric]:
        """List what is counted; each bound of the configuration has its gauge."""
        return [
            *self.bus.metrics(),
            *self.hub.metrics(),
            *self.history.metrics(),
            *self.reception.metrics(),
            *self.outbox.metrics(),
            *self.certificates.metrics(),
            *self.cellular.metrics(),
            *self.gateway_sessions.metrics(),
            *self.images.metrics(),
            *self.firmware.metrics(),
            *self.blobs.metrics(),
            *self._secure.metrics(),
            *(metric for listener in self._listeners for metric in listener.metrics()),
        ]

    async def _sweep(self) -> None:
        self.reception.sweep()
        self.cellular.sweep()
        self.gateway_sessions.sweep()
        self.outbox.sweep()
        self.firmware.sweep()
        self.blobs.sweep()
        await self.streams.sweep(self._clock.monotonic())

    async def _flush(self) -> None:
        """Write what waits for it: every part of it, also when another fails."""
        failure: Exception | None = None
        for write in (self.cellular.commit, self.reception.flush, self.gateways.flush, self.outbox.flush):
            try:
                await write()
            except Exception as exc:
                failure = failure or exc
        self._registry_health = f"writing failed: {failure}" if failure else "ok"
        if failure is not None:
            raise failure

    async def _renew_certificates(self) -> None:
        if await self.authority.renew():  # first: it must not depend on the registry
            for present in self._on_identities:
                present(self._identities())
        await self.certificates.prune()

    async def _watch_tokens(self) -> None:
        self.streams.revoke(await self.tokens.refresh())


def _target(addresses: dict[str, str], name: str) -> tuple[str, int] | None:
    """Return where a listener is bound, if it is there."""
    if name not in addresses:
        return None
    host, _, port = addresses[name].rpartition(":")
    return host.strip("[]"), int(port)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
