"""Four nodes of one server, and what tests do at them."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import NamedTuple

import aiohttp
from sqlalchemy import make_url

from tests.bench.live import Document, LiveDevice, Tail
from tests.bench.waiting import PATIENCE, answered
from tests.cluster.bench import Cluster, Node
from tests.cluster.cables import Cable


class Site(NamedTuple):
    """Two web nodes and two device nodes; the first of these reaches the servers through cables."""

    web: Node
    other_web: Node
    devices: Node
    other_devices: Node
    to_nats: Cable
    to_postgresql: Cable

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes."""
        return self.web, self.other_web, self.devices, self.other_devices


@contextmanager
def site_of(cluster: Cluster) -> Iterator[Site]:
    """Run four nodes."""
    host, _, port = cluster.nats.url.removeprefix("nats://").rpartition(":")
    with (
        Cable((host, int(port))) as to_nats,
        Cable(f"{cluster.database.folder}/.s.PGSQL.5432") as to_postgresql,
        ExitStack() as stack,
    ):
        user = make_url(cluster.registry_url).username
        cabled = {
            "bus.url": f"nats://{to_nats.address}",
            "registry.url": f"postgresql+asyncpg://{user}@{to_postgresql.address}/postgres",
        }
        web = stack.enter_context(cluster.node("web-1", {"role": "web"}))
        other_web = stack.enter_context(cluster.node("web-2", {"role": "web"}))
        devices = stack.enter_context(cluster.node("devices-1", {"role": "devices"} | cabled))
        other_devices = stack.enter_context(cluster.node("devices-2", {"role": "devices"}))
        yield Site(web, other_web, devices, other_devices, to_nats, to_postgresql)


def activity(device: LiveDevice) -> str:
    """Path of the stream of a device's collection."""
    return f"/span/collections/{device.collection}/activity"


async def metric(node: Node, name: str) -> float:
    """Return a metric of a node, the sum of its labels."""
    url = f"http://{node.addresses['http']}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as reply:
        found = re.findall(rf"^span_events_{name}(?:{{.*}})? (\S+)$", await reply.text(), re.MULTILINE)
    return sum(map(float, found))


async def arrives(device: LiveDevice, at: Node, *tails: Tail) -> list[Document]:
    """
    Let a device send to a node until every subscriber has seen a message of it.

    At the end, the node holds no datagram that came before it knew the device, and would be a message later.
    """
    with closing(at.socket_at(device.address, "datagrams")) as client:
        seen = [await at.sees(tail, lambda: client.send(b"hello"), "upstreamMessage") for tail in tails]
    await answered(lambda: metric(at, "registry_held"), lambda held: held == 0)
    return seen


async def new_device(at: Node) -> LiveDevice:
    """Make a device in a collection of its own."""
    return await at.add_device(await at.add_collection())


async def shows(node: Node, path: str, condition: Callable[[Document], bool]) -> None:
    """Wait until the document at a path of a node fulfils a condition."""
    async with asyncio.timeout(PATIENCE):
        while not condition(await node.call("GET", path)):  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0.05)


async def post(at: Node, device: LiveDevice, payload: bytes) -> None:
    """Post a downstream message."""
    await at.call("POST", f"{device.path}/outbox", {"payload": b64encode(payload).decode()})
