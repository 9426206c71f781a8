"""RADIUS: devices attach, are reported and leave, against a bare loop over the same codec; and a flood."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, closing
from itertools import islice
from typing import Any

from scripts.benchmarks.clients.radius import IN_FLIGHT, Nas, attaching, garbage, reported
from scripts.benchmarks.harness import CLIENT_CORE, Options, Process, Table, drain, server, subscribe
from scripts.benchmarks.servers.radius import DEVICES

SERVERS = (
    ("bare loop: decode, verify, answer", "bare-radius"),
    ("the same, reading IMSI, IMEI and cell too", "reading-radius"),
    ("span-events, devices that come back", "radius"),
    ("span-events, devices that are new", "radius-new"),
)
EVENTS = {"Access-Request": 0, "Start": 1, "Interim-Update": 0, "Stop": 1}
"""Kinds of requests, in the order in which a device's come, and how many events each publishes."""
WRITTEN = 1.2
"""Seconds after which the server has written to the registry what requests changed: each kind pays for its own."""
FLOOD = 100_000


async def run(options: Options) -> None:
    """Let all devices attach and leave, again and again, on both servers, interleaved; then the flood on ours."""
    os.sched_setaffinity(0, {CLIENT_CORE})
    cycles = max(1, int(1.5 * options.seconds))
    requests = cycles * DEVICES
    tables = {
        what: Table(f"RADIUS, {what}, {IN_FLIGHT} in flight, {requests} requests", "per CPU second of the server")
        for what in EVENTS
    }
    for _ in range(options.rounds):
        for name, variant in SERVERS:
            async with server(variant, uvloop=options.uvloop) as started:
                for what, seconds in (await _live(started, cycles)).items():
                    tables[what].add(name, requests / seconds)
    for table in tables.values():
        table.show(base=SERVERS[0][0])
    await _flood(options)


async def _live(started: Process, cycles: int) -> dict[str, float]:
    """Let each device attach, be reported and leave so many times; return the CPU seconds of each kind of request."""
    where = await started.answer()
    spent = dict.fromkeys(EVENTS, 0.0)
    async with _subscriber(where):
        with closing(Nas()) as nas:
            before = await _counters(started)
            for cycle in range(cycles + 1):
                accepts: list[bytes] = []
                for what, events in EVENTS.items():
                    if what == "Access-Request":
                        accepts = await asyncio.to_thread(nas.ask, _address(where, "radius"), attaching(cycle))
                    else:
                        requests = reported(what, cycle, accepts)
                        await asyncio.to_thread(nas.ask, _address(where, "radius-accounting"), requests)
                    if where["token"]:
                        await asyncio.sleep(WRITTEN)
                    after = await _counters(started)
                    if cycle:  # the first one warms up
                        spent[what] += after["cpu"] - before["cpu"]
                    made = after["published"] - before["published"]
                    if where["token"] and made != events * DEVICES:
                        raise RuntimeError(f"{DEVICES} times {what} became {made} events")
                    before = after
    return spent


async def _flood(options: Options) -> None:
    """Send what nobody may believe, from the address of a NAS and from many others."""
    async with server("radius", uvloop=options.uvloop) as started:
        where = await started.answer()
        print(f"\nFlood of {FLOOD} malformed or forged RADIUS requests")
        async with _subscriber(where):
            with closing(Nas()) as nas:
                await asyncio.to_thread(nas.ask, _address(where, "radius"), attaching(0))
                for word in ("first", "again"):
                    before, rss = await _counters(started), started.rss_kb()
                    answers = await asyncio.to_thread(_send, where, garbage(7))
                    after = await _counters(started)
                    taken = sum(after["outcomes"].values()) - sum(before["outcomes"].values())
                    print(
                        f"  {word}: {taken} taken, {(after['cpu'] - before['cpu']) / taken * 1e6:.0f} us CPU each,"
                        f" {answers} answers, {after['published'] - before['published']} events,"
                        f" memory {(started.rss_kb() - rss) / 1024:+.1f} MB",
                        flush=True,
                    )
                good = await asyncio.to_thread(nas.ask, _address(where, "radius"), attaching(1))
        outcomes = {name: count for name, count in after["outcomes"].items() if count}
        print(f"  {outcomes}, {after['defects']} defects; {len(good)} good requests afterwards are answered")


def _send(where: dict[str, Any], requests: Iterable[bytes]) -> int:
    """Send, every other time from the address of a NAS; return how many answers came."""
    authentication, accounting = (_address(where, name) for name in ("radius", "radius-accounting"))
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(128)]
    for number, sender in enumerate(senders):
        sender.bind(("127.0.0.1" if number % 2 else f"127.0.1.{number}", 0))
        sender.setblocking(False)
    for number, request in enumerate(islice(requests, FLOOD)):
        senders[number % len(senders)].sendto(request, accounting if request[:1] == b"\4" else authentication)
        if number % 64 == 0:
            time.sleep(0.005)  # let the server keep up: what the kernel drops tests nothing
    time.sleep(1.0)
    return sum(_answers(each) for each in senders)


def _answers(sender: socket.socket) -> int:
    """Read what came to a socket, and close it."""
    count = 0
    with sender:
        while True:
            try:
                sender.recv(4096)
            except BlockingIOError:
                return count
            count += 1


@asynccontextmanager
async def _subscriber(where: dict[str, Any]) -> AsyncIterator[None]:
    """Read the events of a server that has some."""
    if not where["token"]:
        yield
        return
    opened = subscribe(where["addresses"]["http"], where["path"], {"X-API-Token": where["token"]})

    async def read() -> None:
        while True:
            await asyncio.to_thread(drain, [opened], 0.5)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()


def _address(where: dict[str, Any], name: str) -> tuple[str, int]:
    host, _, port = where["addresses"][name].rpartition(":")
    return host, int(port)


async def _counters(started: Process) -> dict[str, Any]:
    started.tell("")
    return await started.answer()
