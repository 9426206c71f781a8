"""Memory of a subscriber to whom nothing happens: by WebSocket, as Server-Sent Events and as lines of JSON."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial

from scripts.benchmarks.harness import Options, Table, allow_sockets, server
from scripts.benchmarks.streams import FORMS

COUNT = 2_000


async def run(options: Options) -> None:
    """Open many streams and look at the resident memory of the server."""
    allow_sockets()
    table = Table(f"Idle subscriber, {COUNT} of them", "octets of resident memory each")
    for _ in range(options.rounds):
        for form, opened_by in FORMS.items():
            async with server("quiet", uvloop=options.uvloop) as started:
                where = await started.answer()
                open_one = partial(opened_by, where["addresses"]["http"], where["path"], where["token"])
                first = [open_one() for _ in range(50)]
                before = started.rss_kb()
                opened = await asyncio.to_thread(_repeat, open_one)
                await asyncio.sleep(1.5)  # a sweep has passed
                table.add(form, (started.rss_kb() - before) * 1024 / COUNT)
                for each in first + opened:
                    each.close()
    table.show(base="WebSocket")


def _repeat(open_one: Callable[[], socket.socket]) -> list[socket.socket]:
    return [open_one() for _ in range(COUNT)]
