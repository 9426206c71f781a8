"""
Workers: CPU seconds of the web processes for each delivered event, one against two with the same subscribers.

A device sends to the device node, NATS carries its messages to each worker, and the worker writes them to its
subscribers. Needs the programs of `scripts/cluster`: nats-server and PostgreSQL.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp

from scripts.benchmarks.harness import Options, Table, allow_sockets, drain, subscribe
from scripts.nodes.servers import nats, postgresql
from scripts.nodes.service import Service

SUBSCRIBERS: Final = 400
RATE: Final = 200.0
"""Messages of the device per second."""
_WARM: Final = 1.5
_TICKS: Final = os.sysconf("SC_CLK_TCK")


async def run(options: Options) -> None:
    """Measure one worker and two in turns, each with a server of its own, and print the table."""
    allow_sockets()
    table = Table(f"Delivery to {SUBSCRIBERS} subscribers", "events per CPU second of all workers together")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with AsyncExitStack() as stack:
            database, registry = await asyncio.to_thread(_database, folder)
            port = _free_port()
            for service in (database, nats(folder, port)):
                stack.push_async_callback(service.stop)
                await service.start()
            settings = {"SPAN_EVENTS_REGISTRY__URL": registry, "SPAN_EVENTS_BUS__URL": f"nats://127.0.0.1:{port}"}
            for number in range(options.rounds):
                for workers in (1, 2):
                    host = f"127.0.{workers}.{number + 1}"
                    rate = await _measure(folder / host, workers, host, settings, options.seconds)
                    table.add(f"{workers} worker{'s' if workers > 1 else ''}", rate)
    table.show(base="1 worker")


def _database(folder: Path) -> tuple[Service, str]:
    folder.chmod(0o755)  # PostgreSQL's user passes it
    return postgresql(folder)


async def _measure(folder: Path, workers: int, host: str, settings: Mapping[str, str], seconds: float) -> float:
    """
    Return the delivered events per CPU second.

    Args:
        host: Address of the device.
    """
    await asyncio.to_thread(folder.mkdir)
    ready = folder / "ready"
    command = [sys.executable, "-m", "span_events", "serve", "--workers", str(workers)]
    command += ["--data-dir", str(folder.parent / "data"), "--ready-file", str(ready)]
    server = Service("span-events", command, folder, ready.exists, environment=_free_ports() | settings)
    await server.start()
    try:
        addresses: dict[str, str] = json.loads(ready.read_text())
        token = (folder.parent / "data" / "admin-token").read_text().strip()
        processes = [f"worker-{number}" for number in range(1, workers + 1)]
        lines = [json.loads(each) for each in server.log.read_text().splitlines() if each.startswith("{")]
        pids = [each["pid"] for each in lines if each["event"] == "process_started" and each["process"] in processes]
        async with aiohttp.ClientSession(headers={"X-API-Token": token}) as session:
            collection = await _made(session, addresses, "/span/collections", {})
            path = f"/span/collections/{collection['collectionId']}"
            await _made(session, addresses, f"{path}/devices", {"metadata": {"ciot": {"allocatedIp": host}}})
            streams = [
                await asyncio.to_thread(subscribe, addresses["http"], f"{path}/activity", {"X-API-Token": token})
                for _ in range(SUBSCRIBERS)
            ]
            reading = asyncio.create_task(asyncio.to_thread(drain, streams, _WARM + seconds + 3))
            ports = [addresses[f"monitoring-{name}"] for name in processes]
            await _send(host, addresses["datagrams"], _WARM)
            cpu, events = _cpu(pids), await _delivered(session, ports)
            await _send(host, addresses["datagrams"], seconds)
            await asyncio.sleep(1)  # what is under way arrives
            spent, delivered = _cpu(pids) - cpu, await _delivered(session, ports) - events
            await reading
            for each in streams:
                each.close()
    finally:
        await server.stop()
    return delivered / spent


async def _made(
    session: aiohttp.ClientSession, addresses: Mapping[str, str], path: str, body: object
) -> dict[str, str]:
    async with session.post(f"http://{addresses['http']}{path}", json=body) as reply:
        reply.raise_for_status()
        made: dict[str, str] = await reply.json()
        return made


async def _send(source: str, address: str, seconds: float) -> None:
    """Let the device send at its rate."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind((source, 0))
        device.connect((host, int(port)))
        began, sent = time.perf_counter(), 0
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * RATE:
                device.send(b"123456789")
                sent += 1
            await asyncio.sleep(0.001)


def _cpu(pids: list[int]) -> float:
    """Return the CPU seconds of processes so far."""
    total = 0.0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / _TICKS
    return total


async def _delivered(session: aiohttp.ClientSession, ports: list[str]) -> float:
    total = 0.0
    for port in ports:
        async with session.get(f"http://{port}/metrics") as reply:
            (count,) = re.findall(r"^span_events_events_delivered_total (\S+)", await reply.text(), re.MULTILINE)
            total += float(count)
    return total


def _free_ports() -> dict[str, str]:
    """Return the settings of a server on free ports, without limits of one device."""
    names = ("HTTP", "MONITORING", "DATAGRAMS", "COAP", "COAPS", "GATEWAYS", "MQTT")
    free = {f"SPAN_EVENTS_{name}__PORT": "0" for name in names}
    free |= {f"SPAN_EVENTS_{name}": "0" for name in ("BLOBS__PORT", "BLOBS__TLS_PORT", "THINGS_STACK__GRPC_PORT")}
    # No linger: a worker with half the subscribers would linger less, and write more often because it has the time.
    return free | {
        "SPAN_EVENTS_FANOUT__MAX_LINGER_MS": "0",
        "SPAN_EVENTS_MESSAGES__RATE": "1e6",
        "SPAN_EVENTS_MESSAGES__BURST": "1000000",
        "SPAN_EVENTS_LOG__STYLE": "json",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
