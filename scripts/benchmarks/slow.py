"""A subscriber that stopped reading, among 100: what it costs the others, and memory."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from typing import Any

from scripts.benchmarks.harness import Options, Process, Table, server, subscribe

SUBSCRIBERS = 100
RATE = 2_000
MARK = b'"bytes":"'


async def run(options: Options) -> None:
    """Measure with and without the stopped reader, interleaved."""
    table = Table(f"{RATE} events/s to {SUBSCRIBERS} subscribers, 99th percentile of the delay", "microseconds")
    memory = Table("the same, resident memory gained", "octets")
    for _ in range(options.rounds):
        for name, stopped in (("all read", 0), ("one has stopped", 1)):
            async with server("steady", "--rate", str(RATE), uvloop=options.uvloop) as started:
                where = await started.answer()
                delay, gained = await asyncio.to_thread(_measure, started, where, stopped, options.seconds + 2)
                table.add(name, delay)
                memory.add(name, gained)
    table.show(base="all read")
    memory.show()


def _measure(started: Process, where: dict[str, Any], stopped: int, seconds: float) -> tuple[float, float]:
    headers = {"X-API-Token": where["token"]}
    address, path = where["addresses"]["http"], where["path"]
    idle = [subscribe(address, path, headers, receive_buffer=4096) for _ in range(stopped)]
    reading = [subscribe(address, path, headers) for _ in range(SUBSCRIBERS - stopped)]
    before = started.rss_kb()
    delays = _delays(reading, seconds)
    gained = (started.rss_kb() - before) * 1024
    for each in idle + reading:
        each.close()
    return sorted(delays)[int(len(delays) * 0.99)] / 1000, gained


def _delays(sockets: list[socket.socket], seconds: float) -> list[int]:
    """Read; the event's ``bytes`` is the nanosecond at which it was published."""
    delays: list[int] = []
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ, each)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for key, _ in selector.select(0.05):
                data = key.data.recv(1 << 18)
                at = data.rfind(MARK)
                end = data.find(b'"', at + len(MARK))
                if at >= 0 and end >= 0:
                    delays.append(time.clock_gettime_ns(time.CLOCK_REALTIME) - int(data[at + len(MARK) : end]))
    return delays[len(delays) // 4 :]
