"""
The bus: events per CPU second of a process that publishes them, alone, to NATS, and with a node that gets them.

A tick of the loop has 16 events, of 16 collections (K=1) or of one (K=16): K of them share a NATS message.
The history is part of each row.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.benchmarks.harness import Options, Table
from span_events.bus.local import LocalBus
from span_events.clock import SystemClock
from span_events.events.history import History
from span_events.ids import IdGenerator
from tests.bench.peers.nats import jetstream, nats_server
from tests.bus.nodes import COLLECTION, Node, node, numbered

TICKS, EVENTS = 1_000, 16
_COLLECTIONS = count(COLLECTION, EVENTS)
"""New ones for each run: the archive outlives it."""
WINDOW = 4_096
"""Events on their way at most: the archive keeps a thousand NATS messages of a subject."""
LOCAL = "inside a process"


async def run(options: Options) -> None:
    """Measure all, interleaved, and print the table."""
    table = Table("The bus", "events per CPU second")
    with TemporaryDirectory() as folder:
        async with nats_server(Path(folder), jetstream(Path(folder))) as nats:
            for _ in range(options.rounds):
                table.add(LOCAL, await _local())
                for each in (1, 16):
                    table.add(f"to NATS, K={each}", await _remote(nats.url, each, is_followed=False))
                    table.add(f"to NATS and from there, K={each}", await _remote(nats.url, each, is_followed=True))
    table.show(base=LOCAL)


async def _local() -> float:
    bus = LocalBus(SystemClock(), IdGenerator())
    history = History(per_collection=1000, total=10_000, born=0)
    bus.listen(activities=history.append)
    return await _publish(Node(bus, history), next(_COLLECTIONS), 1, None)


async def _remote(url: str, batch: int, *, is_followed: bool) -> float:
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(node(url, 1, linger_ms=0))
        first, there = next(_COLLECTIONS), None
        if is_followed:
            there = await stack.enter_async_context(node(url, 2))
            await there.follow(*range(first, first + EVENTS // batch))
        return await _publish(here, first, batch, there)


async def _publish(here: Node, first: int, batch: int, there: Node | None) -> float:
    events = [numbered(number, first + number // batch) for number in range(EVENTS)]
    publish = here.bus.publish
    began = time.process_time()
    for _ in range(TICKS):
        for event in events:
            publish(event)
        for _ in range(3):  # the writer wakes, hands over, and waits again
            await asyncio.sleep(0)
        if there is not None:
            await _arrived(there, len(here.activities) - WINDOW)
    if there is not None:
        await _arrived(there, TICKS * EVENTS)
    return TICKS * EVENTS / (time.process_time() - began)


async def _arrived(there: Node, count: int) -> None:
    while len(there.activities) < count:
        await asyncio.sleep(0.001)
