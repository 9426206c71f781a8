"""
Ingest: UDP datagrams from the socket to one subscriber, against a loop that only receives.

The sender saturates; what the kernel drops for want of buffer is not the server's doing. What the
kernel delivered must come out as events, one each: the counts are compared.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from typing import Any

from scripts.benchmarks.harness import CLIENT_CORE, Options, Process, Table, drain, process, server, subscribe

SIZE = 180


async def run(options: Options) -> None:
    """Measure both, interleaved."""
    table = Table(f"UDP ingest, {SIZE}-octet datagrams", "datagrams per CPU second of the server")
    for _ in range(options.rounds):
        for name, variant in (("bare add_reader + recv", "bare-udp"), ("span-events, to one subscriber", "quiet")):
            async with server(variant, uvloop=options.uvloop) as started:
                table.add(name, await _measure(options, started))
    table.show(base="bare add_reader + recv")


async def _measure(options: Options, started: Process) -> float:
    where = await started.answer()
    subscriber: asyncio.Task[int] | None = None
    if where["token"]:
        opened = subscribe(where["addresses"]["http"], where["path"], {"X-API-Token": where["token"]})
        subscriber = asyncio.create_task(asyncio.to_thread(drain, [opened], options.seconds + 1.5))
    host, _, port = where["addresses"]["datagrams"].rpartition(":")
    before = await _counters(started)
    await _blast(options, host, port)
    after = await _settled(started)
    taken = after["datagrams"] - before["datagrams"]
    if subscriber is not None:
        await subscriber
        made = after["delivered"] + after["dropped"] - before["delivered"] - before["dropped"]
        if made != taken + 1 or after["defects"]:  # the first one also connects the client
            raise RuntimeError(f"{taken} datagrams became {made} events, {after['defects']} defects")
        if after["dropped"]:
            print(f"  (the subscriber was too slow for {after['dropped']} of {taken})")
    return float(taken / (after["cpu"] - before["cpu"]))


async def _counters(started: Process) -> dict[str, Any]:
    started.tell("")
    return await started.answer()


async def _settled(started: Process) -> dict[str, Any]:
    """Wait until the server has taken the rest of the kernel's buffer, and return its counters."""
    after = await _counters(started)
    while True:
        await asyncio.sleep(0.3)
        earlier, after = after, await _counters(started)
        if after["datagrams"] == earlier["datagrams"]:
            return after


async def _blast(options: Options, host: str, port: str) -> None:
    tool = options.tool("udpblast")
    if tool is not None:
        async with process([tool, port, str(options.seconds), str(SIZE)], core=CLIENT_CORE) as blast:
            json.dumps(await blast.answer())
    else:
        await asyncio.to_thread(_send, (host, int(port)), options.seconds)


def _send(target: tuple[str, int], seconds: float) -> None:
    payload = b"x" * SIZE
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(target)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _ in range(64):
                sender.send(payload)
