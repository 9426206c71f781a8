"""The registry: memory of a device in the directory of a node; times of a claim and of a change at another node."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

from scripts.benchmarks.harness import Options, Table
from span_events.ids import IdGenerator
from span_events.registry.directory import Directory
from span_events.registry.model import CiotMetadata, Collection, Device, DeviceConfig
from tests.bench.fleets import CAUSE, FleetBench
from tests.bench.nodes import fleet_node
from tests.bench.peers.postgresql import postgresql_server

DEVICES = 50_000
CHANGES = 100


async def run(options: Options) -> None:
    """Measure all, and print two tables."""
    memory = Table(f"A device of {DEVICES:,}, with name, SIM, hardware and address", "octets of resident memory")
    memory.add("in the directory of a node", _memory())
    memory.show()
    times = Table("Two nodes and PostgreSQL, one change after the other", "microseconds")
    async with _nodes() as (one, two):
        collection = await one.collection()
        for number in range(options.rounds * CHANGES):
            address = str(IPv4Address("10.0.0.0") + number)
            begin = time.perf_counter()
            device = await one.device(address, collection)
            times.add("written by one node", (time.perf_counter() - begin) * 1e6)
            while device.id not in two.directory.devices:
                await asyncio.sleep(0)
            times.add("in the memory of the other", (time.perf_counter() - begin) * 1e6)
            message = await one.outbox.queue(device, b"x", cause=CAUSE)
            begin = time.perf_counter()
            claimed = await two.store.claim_downstream([message.id], lambda: None)
            times.add("claim of a downstream message", (time.perf_counter() - begin) * 1e6)
            assert claimed == {message.id}
    times.show()


def _memory() -> float:
    collection, directory, ids = Collection(1, 1), Directory(), IdGenerator()
    directory.add_collection(collection)
    gc.collect()
    before = _resident()
    for number in range(DEVICES):
        imsi, imei = f"00101{number:010}", f"35000{number:010}"
        address = CiotMetadata(allocated_ip=str(IPv4Address("10.0.0.0") + number))
        identity = ids.next(time.time_ns())
        directory.add(Device(identity, collection, {"name": f"meter-{number}"}, DeviceConfig(imsi, imei), ciot=address))
    return (_resident() - before) / DEVICES


def _resident() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("Linux shows the resident memory")


@asynccontextmanager
async def _nodes() -> AsyncIterator[tuple[FleetBench, FleetBench]]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgresql_server())
        url = await server.new_schema()
        one = await stack.enter_async_context(fleet_node(url, folder / "one"))
        two = await stack.enter_async_context(fleet_node(url, folder / "two"))
        yield one, two
