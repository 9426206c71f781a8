"""A fleet with outputs, and real HTTP servers as their targets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

from span_events.clock import SystemClock
from span_events.config import OutputsConfig
from span_events.events.message import Transport
from span_events.fleet.outputs.outputs import OutputChange
from span_events.outputs.outputs import Outputs
from span_events.registry.model import Collection, Device
from span_events.registry.outputs import Output, OutputType
from span_events.web.streams.messages import MessageDialect
from tests.bench.fleets import FleetBench, fleet_bench
from tests.bench.ports import free_port
from tests.bench.waiting import until

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Target:
    """An HTTP server that keeps the requests that it gets."""

    def __init__(self) -> None:
        self.requests: list[tuple[web.Request, bytes]] = []
        self.answer: Answer | None = None
        """Answers instead of 200."""
        self.port = free_port()
        self.tls: ssl.SSLContext | None = None
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen, on the same port each time."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True, ssl_context=self.tls)
        await site.start()

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """URL of a path."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def bodies(self) -> list[Any]:
        """The JSON of each request."""
        return [orjson.loads(body) for _, body in self.requests]

    @property
    def payloads(self) -> list[str]:
        """The payloads of all messages, base64."""
        return [each["payload"] for body in self.bodies for each in body["messages"]]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.answer is not None:
            return await self.answer(request)
        self.requests.append((request, body))
        return web.Response()


class OutputsBench:
    """A collection with a device, and outputs that run."""

    def __init__(self, fleet: FleetBench, outputs: Outputs, collection: Collection, device: Device) -> None:
        self.fleet = fleet
        self.outputs = outputs
        self.collection = collection
        self.device = device

    async def add(self, kind: OutputType = OutputType.WEBHOOK, **config: Any) -> Output:
        """Make an output; keywords are those of an `OutputConfig`."""
        return await self.fleet.outputs.create(self.collection, OutputChange(type=kind, config=config))

    def send(self, payload: bytes = b"hello") -> None:
        """Receive a message from the device."""
        self.fleet.clock.shift(60)  # within any rate
        assert self.fleet.reception.received(
            self.device, payload, remote=("10.0.0.9", 4000), transport=Transport.UDP, local_port=1234
        )

    def published(self, name: str) -> list[dict[str, str]]:
        """Return the data of the events of a name."""
        return [data for each, data in self.fleet.published if each == name]

    async def event(self, name: str) -> dict[str, str]:
        """Wait for an event, and return its data."""
        await until(lambda: bool(self.published(name)))
        return self.published(name)[0]


@asynccontextmanager
async def outputs_bench(folder: Path, **settings: Any) -> AsyncIterator[OutputsBench]:
    """Run outputs with quick pauses; keywords are settings of ``[outputs]``."""
    config = {"allow_private": True, "first_pause": 0.01, "longest_pause": 0.05} | settings
    async with fleet_bench(folder, outputs=config) as fleet:
        collection = await fleet.collection()
        device = await fleet.device("10.0.0.9", collection)
        encode = MessageDialect(fleet.directory).encode
        outputs = Outputs(OutputsConfig.model_validate(config), fleet, encode, SystemClock())
        fleet.bus.listen(activities=outputs.show, messages=outputs.show_message)
        try:
            yield OutputsBench(fleet, outputs, collection, device)
        finally:
            await outputs.close()


@asynccontextmanager
async def serving() -> AsyncIterator[Target]:
    """Serve a target."""
    target = Target()
    await target.start()
    try:
        yield target
    finally:
        await target.stop()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[OutputsBench]:
    """Outputs that may reach this computer."""
    async with outputs_bench(tmp_path) as found:
        yield found


@pytest.fixture
async def target() -> AsyncIterator[Target]:
    """A target that answers 200."""
    async with serving() as found:
        yield found
