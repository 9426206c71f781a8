"""A whole server inside the test, on free ports, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from span_events.app import Server
from span_events.config import Config
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange
from span_events.fleet.devices.devices import DeviceChange
from span_events.ids import render
from span_events.registry.model import Collection, Device
from tests.bench.clock import ManualClock
from tests.bench.fleets import prepare_data
from tests.bench.ports import FREE
from tests.bench.waiting import PATIENCE, until

CAUSE = 77


class Running:
    """A server that runs, and shortcuts to make things happen in it."""

    def __init__(self, server: Server, clock: ManualClock) -> None:
        self.server = server
        self.clock = clock
        self.token = server.first_token or ""
        """That of the first start; a later one over the same folder makes none."""
        self.http = server.addresses["http"]

    async def collection(self) -> Collection:
        """Make a collection."""
        return await self.server.fleet.collections.create(CollectionChange())

    async def device(self, collection: Collection, address: str = "") -> Device:
        """Make a device."""
        return await self.server.fleet.devices.create(collection, DeviceChange(allocated_ip=address), cause=CAUSE)

    def receive(self, device: Device, payload: bytes = b"hello") -> int | None:
        """Let a message of a device come in."""
        return self.server.fleet.reception.received(
            device, payload, remote=("10.0.0.9", 4000), transport=Transport.UDP, local_port=1234
        )

    def stream(self, path: str, *, token: str | None = None, **options: Any) -> connect:
        """Open a WebSocket, as the admin unless a token is given; an empty one is not sent."""
        secret = self.token if token is None else token
        headers = ({"X-API-Token": secret} if secret else {}) | options.pop("headers", {})
        patient: dict[str, Any] = {"open_timeout": PATIENCE, "ping_interval": None}  # answers come late if it is busy
        return connect(f"ws://{self.http}{path}", additional_headers=headers, **patient | options)

    async def ended(self, stream: ClientConnection) -> None:
        """Let time pass until the server has ended a stream; its tasks may wait for the registry meanwhile."""
        closing = asyncio.create_task(stream.wait_closed())
        while not closing.done():
            await self.clock.advance(0.5)
            await asyncio.wait({closing}, timeout=0.1)

    async def joined(self, subscribers: int) -> Self:
        """Wait until so many streams are served."""
        await until(lambda: self.server.hub.subscribers == subscribers)
        return self


@asynccontextmanager
async def running(
    folder: Path, clock: ManualClock | None = None, /, **settings: dict[str, Any]
) -> AsyncIterator[Running]:
    """Run a server with every port free."""
    tables = dict(FREE)
    for name, table in settings.items():
        tables[name] = tables.get(name, {}) | table
    clock = clock or ManualClock()
    await prepare_data(folder, clock, settings)
    async with Server(Config(**tables), data_dir=folder, clock=clock) as server:
        yield Running(server, clock)


async def events(stream: ClientConnection, count: int) -> list[dict[str, Any]]:
    """Receive so many objects; each must be one frame of one line."""
    received = []
    for _ in range(count):
        frame = await stream.recv()
        assert isinstance(frame, str)
        assert frame.endswith("\n")
        assert frame.count("\n") == 1
        received.append(json.loads(frame))
    return received


async def names(stream: ClientConnection, count: int) -> list[str]:
    """Receive so many events; return their names."""
    return [each["event"] for each in await events(stream, count)]


def activity(collection: Collection, rest: str = "") -> str:
    """Path of a collection's activity stream."""
    return f"/span/collections/{render(collection.id)}{rest or '/activity'}"


def stalled_client(site: Running, path: str, fields: str = "") -> socket.socket:
    """Send a GET over a socket with a small buffer, as the admin; the caller reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    host, _, port = site.http.rpartition(":")
    client.connect((host, int(port)))
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Token: {site.token}\r\n{fields}\r\n".encode())
    return client


def connections(site: Running) -> int:
    """Return the open connections of the HTTP port, streams among them."""
    server = site.server.web._runner.server
    assert server is not None
    return len(server.connections)
