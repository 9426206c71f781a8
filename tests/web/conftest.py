"""A real HTTP server over a real fleet, and a client that speaks to it as any other would."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from span_events import ids
from span_events.accepting import RefusedAccepts
from span_events.auth.logins import Logins
from span_events.auth.tokens import Tokens
from span_events.events.history import History
from span_events.events.message import Transport
from span_events.fanout.hub import Hub
from span_events.metrics import Metric
from span_events.registry.model import Device
from span_events.web.app import make_app
from span_events.web.mqtt.service import MqttService
from span_events.web.mqtt.websocket import MqttWebSockets
from span_events.web.proxies import Proxies
from span_events.web.server import WebServer
from span_events.web.services import Services, StreamRoutes
from span_events.web.streams.admission import Admission
from span_events.web.streams.streams import Streams
from span_events.web.things_stack.console import ConsoleEvents
from span_events.web.things_stack.http import HttpEvents
from span_events.web.things_stack.routes import routes_of
from span_events.web.things_stack.service import EventsService
from tests.bench.fleets import FleetBench, config_of, fleet_bench

IN_MODULE: Final = pytest.mark.asyncio(loop_scope="module")
"""Marks tests with `shared_api`."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply of the API."""

    status: int
    headers: dict[str, str]
    body: Any
    """Parsed, where it is JSON."""

    @property
    def problem(self) -> tuple[int, str]:
        """Status and detail of a refusal, having checked its shape."""
        assert self.headers["content-type"].startswith("application/problem+json")
        assert {"type", "title", "status", "detail", "code", "message", "details"} <= self.body.keys()
        assert self.body["status"] == self.status
        assert self.body["message"] == self.body["detail"]
        assert self.body["detail"] in self.body["title"]
        return self.status, self.body["detail"]


@dataclass(slots=True)
class WebBench:
    """The API, and the parts behind it."""

    fleet: FleetBench
    tokens: Tokens
    url: str
    session: aiohttp.ClientSession
    hub: Hub
    streams: Streams
    console: ConsoleEvents
    events: EventsService
    mqtt: MqttService
    app: web.Application = field(init=False)
    admin: str = ""
    """Text of a token that may do everything."""
    health: dict[str, str] = field(default_factory=lambda: {"registry": "ok"})
    metrics: list[Metric] = field(default_factory=list)

    async def call(self, method: str, path: str, *, token: str | None = "", **options: Any) -> Reply:
        """Send a request; with the admin token unless another (or None) is given."""
        headers = dict(options.pop("headers", {}))
        if token is not None:
            headers["X-API-Token"] = token or self.admin
        async with self.session.request(method, self.url + path, headers=headers, **options) as response:
            octets = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            body = await response.json(content_type=None) if is_json and octets else octets.decode()
            return Reply(response.status, {name.lower(): text for name, text in response.headers.items()}, body)

    async def token(self, resource: str = "/", *, write: bool = False) -> str:
        """Make a token and return its text."""
        _, text = await self.tokens.create(resource=resource, write=write)
        return text

    async def collection(self, **body: Any) -> str:
        """Make a collection through the API and return its id."""
        reply = await self.call("POST", "/span/collections", json=body)
        return str(reply.body["collectionId"])

    async def device(self, collection: str, **body: Any) -> str:
        """Make a device through the API and return its id."""
        reply = await self.call("POST", f"/span/collections/{collection}/devices", json=body)
        assert reply.status == 200, reply.body
        return str(reply.body["deviceId"])

    async def gateway(self, collection: str, **body: Any) -> str:
        """Make a gateway through the API and return its id."""
        reply = await self.call("POST", f"/span/collections/{collection}/gateways", json=body)
        assert reply.status == 200, reply.body
        return str(reply.body["gatewayId"])

    async def image(self, collection: str, version: str = "1.0", octets: bytes = b"") -> str:
        """Upload a firmware image through the API and return its id; its octets are its version unless given."""
        body = {"image": b64encode(octets or version.encode()).decode(), "version": version, "filename": "fw.bin"}
        reply = await self.call("POST", f"/span/collections/{collection}/firmware", json=body)
        assert reply.status == 200, reply.body
        return str(reply.body["imageId"])

    def known(self, device: str) -> Device:
        """Return the device behind an id."""
        return self.fleet.directory.devices[ids.parse(device)]

    def receive(self, device: str, payload: bytes = b"hello", *, transport: Transport = Transport.UDP) -> str:
        """Receive a message from a device and return its id."""
        coap: dict[str, Any] = {"coap_code": "POST", "coap_path": "a/b"} if transport is Transport.COAP else {}
        message_id = self.fleet.reception.received(
            self.known(device), payload, remote=("10.0.0.9", 4000), transport=transport, local_port=1234, **coap
        )
        assert message_id is not None
        return ids.render(message_id)


@asynccontextmanager
async def web_bench(folder: Path, **settings: Any) -> AsyncIterator[WebBench]:
    """Serve the API over a new registry in a folder, on a free port."""
    async with fleet_bench(folder, **settings) as fleet, aiohttp.ClientSession() as session:
        config = config_of(settings)
        logins = Logins(
            fleet.store.accounts, config.logins, key=b"k" * 32, identifiers=fleet.identifiers, clock=fleet.clock
        )
        tokens = Tokens(fleet.store, fleet.identifiers, fleet.clock, logins=logins)
        hub = Hub(config.fanout, fleet.clock, fleet.identifiers)
        history = History(per_collection=100, total=1000, born=0)
        fleet.bus.listen(activities=history.append)
        fleet.bus.listen(activities=hub.show, messages=hub.show_message)
        admission = Admission(config.streams, Proxies(config.http.proxies), hub, RefusedAccepts(fleet.clock))
        streams = Streams(
            http=config.http,
            streams=config.streams,
            events=config.events,
            fanout=config.fanout,
            hub=hub,
            history=history,
            inbox=fleet.reception.inbox,
            directory=fleet.directory,
            facts=fleet.facts,
            tokens=tokens,
            admission=admission,
            clock=fleet.clock,
        )
        things_stack = EventsService(
            streams=config.streams,
            hub=hub,
            history=history,
            directory=fleet.directory,
            tokens=tokens,
            clock=fleet.clock,
            identifiers=fleet.identifiers,
            admission=admission,
            host="host-1",
        )
        console = ConsoleEvents(
            config.things_stack, config.streams, config.fanout, things_stack, admission, fleet.clock
        )
        mqtt = MqttService(
            config.mqtt, config.fanout, hub, tokens, fleet.directory, fleet.facts, admission, fleet.clock
        )
        bench = WebBench(fleet, tokens, "", session, hub, streams, console, things_stack, mqtt)
        services = Services(
            config=config,
            clock=fleet.clock,
            identifiers=fleet.identifiers,
            tokens=tokens,
            logins=logins,
            fleet=fleet,
            history=history,
            hub=hub,
            health=lambda: bench.health,
            metrics=lambda: bench.metrics,
        )
        routes = StreamRoutes(
            streams=streams,
            things_stack=routes_of(HttpEvents(config.things_stack, config.fanout, things_stack, admission), console),
            mqtt=MqttWebSockets(mqtt, config.http, config.streams, admission, streams.refusals).routes(),
        )
        bench.app = make_app(services, routes)
        server = WebServer(
            config.http.model_copy(update={"port": 0}), bench.app, refused=RefusedAccepts(fleet.clock), linger=0.1
        )
        await server.start()
        try:
            bench.url = f"http://{server.address}"
            bench.admin = await bench.token(write=True)
            yield bench
        finally:
            await server.stop()


def small_api(folder: Path) -> AbstractAsyncContextManager[WebBench]:
    """Serve the API with small limits."""
    return web_bench(folder, http={"max_body": 20_000}, downstream={"max_payload": 50, "per_device": 2})


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WebBench]:
    """The API with small limits."""
    async with small_api(tmp_path) as bench:
        yield bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebBench]:
    """The same for all tests of a file that are marked `IN_MODULE`: requests that are refused change nothing."""
    async with small_api(tmp_path_factory.mktemp("api")) as bench:
        yield bench
