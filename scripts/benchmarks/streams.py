"""
Forms of a stream: Server-Sent Events, lines of JSON and The Things Stack's beside WebSocket, events per CPU second.

For 100 and for 1,000 subscribers of each form, 1 and 16 events in a tick. An event of The Things Stack has 2.9 times as
many octets as one of Span's.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import product
from types import MappingProxyType
from typing import Final

from scripts.benchmarks.harness import Options, Table, allow_sockets, drain, follow, server, subscribe, watch

SIZES: Final = (100, 1_000)
TICKS: Final = (1, 16)


def _websocket(address: str, path: str, token: str) -> socket.socket:
    return subscribe(address, path, {"X-API-Token": token})


def _sse(address: str, path: str, token: str) -> socket.socket:
    return watch(address, path, token, "text/event-stream")


def _lines(address: str, path: str, token: str) -> socket.socket:
    return watch(address, path, token, "*/*")


FORMS: Final = MappingProxyType(
    {"WebSocket": _websocket, "SSE": _sse, "NDJSON": _lines, "The Things Stack's API": follow}
)
"""Functions that open a stream at an address, path and token."""


async def run(options: Options) -> None:
    """Measure all forms, interleaved, and print a table for each size and tick."""
    allow_sockets()
    for size, batch in product(SIZES, TICKS):
        table = Table(f"Fan-out to {size} subscribers, {batch} events a tick", "events per CPU second of the server")
        for _ in range(options.rounds):
            for name, rate in zip(FORMS, await _measure(options, size, batch), strict=True):
                table.add(name, rate)
        table.show(base="WebSocket")


async def _measure(options: Options, size: int, batch: int) -> list[float]:
    """Measure each form; all have their streams on one server, which publishes to one after the other."""
    arguments = ("--batch", str(batch), "--count", str(len(FORMS)), "--seconds", str(options.seconds))
    async with server("forms", *arguments, uvloop=options.uvloop) as started:
        where = await started.answer()
        paths = (f"/span/collections/{each}/activity" for each in where["collections"])
        sockets = [
            opened_by(where["addresses"]["http"], path, where["token"])
            for opened_by, path in zip(FORMS.values(), paths, strict=True)
            for _ in range(size)
        ]
        started.tell("go")
        draining = asyncio.create_task(asyncio.to_thread(drain, sockets, options.seconds * len(FORMS) + 1))
        result = await started.answer()
        await draining
        for each in sockets:
            each.close()
        rates: list[float] = result["rates"]
        return rates
