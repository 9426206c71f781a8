"""
Fan-out: events published inside the server, delivered to 100 subscribers, per CPU second.

``max_linger_ms`` is 0 for the rows with a number of events in a tick, so that each tick is one
write; the last row shows what the default does under full load.
"""

from __future__ import annotations

import asyncio

from scripts.benchmarks.harness import (
    Options,
    Process,
    Table,
    command_output,
    drain,
    process,
    server,
    subscribe,
)

SUBSCRIBERS = 100
TARGETS = {
    "aiohttp send_str": ("aiohttp", 1, 0.0),
    "websockets.broadcast": ("websockets", 1, 0.0),
    "bare transport.write, 1 frame": ("bare-write", 1, 0.0),
    "bare transport.write, 16 frames": ("bare-write", 16, 0.0),
    "span-events, 1 event a tick": ("span", 1, 0.0),
    "span-events, 16 events a tick": ("span", 16, 0.0),
    "span-events, default linger": ("span", 16, 5.0),
}
LIMITS = {"C send(), 1 frame a write": 1, "C send(), 16 frames a write": 16}


async def run(options: Options) -> None:
    """Measure all targets, interleaved, and print the table."""
    table = Table(f"Fan-out to {SUBSCRIBERS} subscribers", "events per CPU second of the server")
    for _ in range(options.rounds):
        if options.tool("climit") and options.tool("wsdrain"):
            for name, batch in LIMITS.items():
                table.add(name, await _limit(options, batch))
        for name, (variant, batch, linger) in TARGETS.items():
            table.add(name, await _target(options, variant, batch, linger))
    table.show(base="aiohttp send_str")
    if options.tool("climit"):
        for ours, limit in zip(("span-events, 1 event a tick", "span-events, 16 events a tick"), LIMITS, strict=True):
            print(f"  {ours}: {table.median(ours) / table.median(limit):.2f} of {limit}")


async def _target(options: Options, variant: str, batch: int, linger: float) -> float:
    arguments = ("--batch", str(batch), "--linger", str(linger), "--seconds", str(options.seconds))
    async with server(variant, *arguments, uvloop=options.uvloop) as started:
        where = await started.answer()
        if options.tool("wsdrain"):
            return await _by_harness(options, started, where)
        headers = {"X-API-Token": where["token"]} if where["token"] else {}
        http, path = where["addresses"]["http"], where["path"]
        sockets = [subscribe(http, path, headers) for _ in range(SUBSCRIBERS)]
        started.tell("go")
        await asyncio.to_thread(drain, sockets, options.seconds * 1.25 + 0.5)
        for each in sockets:
            each.close()
        result = await started.answer()
        return float(result["done"] / result["cpu"])


async def _by_harness(options: Options, started: Process, where: dict[str, object]) -> float:
    addresses = where["addresses"]
    assert isinstance(addresses, dict)
    port = addresses["http"].rpartition(":")[2]
    command = [str(options.tool("wsdrain")), "-p", port, "-n", str(SUBSCRIBERS), "-u", str(where["path"])]
    command += ["-d", str(options.seconds * 3), "-w", "0.1", "-A", "500", "-P", str(started.pid)]
    if where["token"]:
        command += ["-H", f"X-API-Token: {where['token']}"]
    client = asyncio.create_task(command_output(command))
    await asyncio.sleep(1.0)  # the client is connected by then; it reports only at its end
    started.tell("go")
    result = await started.answer()
    client.cancel()
    return float(result["done"] / result["cpu"])


async def _limit(options: Options, batch: int) -> float:
    port = "9471"
    command = [str(options.tool("climit")), "-p", port, "-n", str(SUBSCRIBERS), "-m", "send", "-k", str(batch)]
    async with process(command, core=0) as limit:
        await asyncio.sleep(0.3)
        drained = [str(options.tool("wsdrain")), "-p", port, "-n", str(SUBSCRIBERS)]
        drained += ["-d", str(options.seconds), "-w", "0.5", "-A", "500", "-P", str(limit.pid)]
        result = await command_output(drained)
        return float(result["ev_per_srv_cpu_s"])
