"""
Forms of a stream: Server-Sent Events and lines of JSON beside WebSocket, events per CPU second of the server.

For 100 and for 1,000 subscribers, 1 and 16 events in a tick, all interleaved.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from itertools import product
from types import MappingProxyType
from typing import Final

from scripts.benchmarks.harness import Options, Table, allow_sockets, drain, server, subscribe, watch

SIZES: Final = (100, 1_000)
TICKS: Final = (1, 16)


def _websocket(address: str, path: str, token: str) -> socket.socket:
    return subscribe(address, path, {"X-API-Token": token})


def _sse(address: str, path: str, token: str) -> socket.socket:
    return watch(address, path, token, "text/event-stream")


def _lines(address: str, path: str, token: str) -> socket.socket:
    return watch(address, path, token, "*/*")


FORMS: Final = MappingProxyType({"WebSocket": _websocket, "SSE": _sse, "NDJSON": _lines})
"""Functions that open a stream at an address, path and token."""


async def run(options: Options) -> None:
    """Measure all forms, interleaved, and print a table for each size and tick."""
    allow_sockets()
    cases = list(product(SIZES, TICKS))
    tables = {
        (size, batch): Table(f"Fan-out to {size} subscribers, {batch} events a tick", "events per CPU second")
        for size, batch in cases
    }
    for _ in range(options.rounds):
        for size, batch in cases:
            for name, opened_by in FORMS.items():
                tables[size, batch].add(name, await _measure(options, opened_by, size, batch))
    for table in tables.values():
        table.show(base="WebSocket")


async def _measure(
    options: Options, opened_by: Callable[[str, str, str], socket.socket], size: int, batch: int
) -> float:
    arguments = ("--batch", str(batch), "--linger", "0", "--seconds", str(options.seconds))
    async with server("span", *arguments, uvloop=options.uvloop) as started:
        where = await started.answer()
        address, path, token = where["addresses"]["http"], where["path"], where["token"]
        sockets = await asyncio.to_thread(lambda: [opened_by(address, path, token) for _ in range(size)])
        started.tell("go")
        draining = asyncio.create_task(asyncio.to_thread(drain, sockets, options.seconds * 1.25 + 0.5))
        result = await started.answer()
        await draining
        for each in sockets:
            each.close()
        return float(result["done"] / result["cpu"])
