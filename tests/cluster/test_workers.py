"""``serve --workers``: one service of several processes, which share ports and outlive one another."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing

import aiohttp
import pytest

from tests.bench.live import LiveDevice, Tail
from tests.bench.ports import free_port, free_ports
from tests.bench.waiting import PATIENCE, until
from tests.cluster.bench import Cluster, Node
from tests.cluster.bench import alive as is_alive


@pytest.fixture(scope="module")
def service(cluster: Cluster) -> Iterator[Node]:
    """A device node and two workers under one parent; a process that is killed has its ports again."""
    ports = {"datagrams.port": free_port(), "monitoring.port": free_ports(3)}
    with cluster.node("service", {"workers": 2, "log.style": "json"} | ports) as node:
        yield node


async def page(node: Node, process: str, path: str) -> str:
    """Ask the monitoring port of a process."""
    url = f"http://{node.addresses[f'monitoring-{process}']}{path}"
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as session, session.get(url) as reply:
        return await reply.text()


async def subscribers(node: Node, process: str) -> int:
    """Return the subscribers of a worker, by its metrics."""
    (count,) = re.findall(r"^span_events_subscribers (\d+)", await page(node, process, "/metrics"), re.MULTILINE)
    return int(count)


@asynccontextmanager
async def tails(node: Node, device: LiveDevice, *workers: str) -> AsyncIterator[list[Tail]]:
    """Subscribe until each of these workers has a subscriber; of one worker, it is that of the last tail."""
    path = f"/span/collections/{device.collection}/activity"
    async with AsyncExitStack() as stack:
        opened: list[Tail] = []
        for worker in workers:
            async with asyncio.timeout(PATIENCE):
                while not opened and await subscribers(node, worker):  # noqa: ASYNC110  # those of the last test leave
                    await asyncio.sleep(0.01)
            while not await subscribers(node, worker):
                opened.append(await stack.enter_async_context(node.tail(path, {"extended": "1"})))
        yield opened


async def test_one_event_reaches_the_subscribers_of_every_worker(service: Node) -> None:
    """The kernel spreads connections over the workers; a device sends to the device node."""
    device = await service.add_device(await service.add_collection())
    async with tails(service, device, "worker-1", "worker-2") as opened:
        with closing(service.socket_at(device.address, "datagrams")) as client:
            for tail in opened:
                await service.sees(tail, lambda: client.send(b"hello"), "upstreamMessage", bytes="5")

        assert len(opened) >= 2


async def test_every_process_has_its_metrics_on_a_port_of_its_own(service: Node) -> None:
    for process in ("devices", "worker-1", "worker-2"):
        assert "span_events_build_info" in await page(service, process, "/metrics")
    assert service.addresses.keys() >= {"http", "mqtt", "things_stack", "datagrams", "coap", "gateways"}


async def test_a_worker_that_is_killed_is_replaced_and_the_other_goes_on(service: Node) -> None:
    """Its streams break, the other's do not; the API answers all the time."""
    device = await service.add_device(await service.add_collection())
    victim, survivor = service.child("worker-1"), service.child("worker-2")
    assert victim
    async with tails(service, device, "worker-2") as (*_, tail):
        os.kill(victim, signal.SIGKILL)
        await until(lambda: not is_alive(victim))
        answers = [await service.request("GET", "/span/collections") for _ in range(5)]
        with closing(service.socket_at(device.address, "datagrams")) as client:
            await service.sees(tail, lambda: client.send(b"hello"), "upstreamMessage", bytes="5")
    await until(lambda: len(service.entries("started", "worker-1")) == 2)

    assert {each.status for each in answers} == {200}
    assert service.child("worker-2") == survivor


async def test_a_device_node_that_is_killed_is_replaced_and_the_api_goes_on(service: Node) -> None:
    victim = service.child("devices")
    assert victim
    os.kill(victim, signal.SIGKILL)
    await until(lambda: not is_alive(victim))
    answer = await service.request("GET", "/span/collections")
    await until(lambda: len(service.entries("started", "devices")) == 2)

    assert answer.status == 200


async def test_workers_end_with_a_parent_that_is_killed(cluster: Cluster) -> None:
    """Nobody would stop or restart them, and a new parent would find its ports in use."""
    with cluster.node("orphans", {"workers": 1, "role": "web", "monitoring.port": 0, "log.style": "json"}) as node:
        worker = node.child("worker-1")
        assert worker
        node.kill()
        await until(lambda: not is_alive(worker))
