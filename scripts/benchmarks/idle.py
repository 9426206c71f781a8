"""Memory of a subscriber to whom nothing happens."""

from __future__ import annotations

import asyncio
import resource

from scripts.benchmarks.harness import Options, Table, server, subscribe

COUNT = 2_000


async def run(options: Options) -> None:
    """Open many streams and look at the resident memory of the server."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    table = Table(f"Idle subscriber, {COUNT} of them", "octets of resident memory each")
    for _ in range(options.rounds):
        async with server("quiet", uvloop=options.uvloop) as started:
            where = await started.answer()
            headers = {"X-API-Token": where["token"]}
            first = [subscribe(where["addresses"]["http"], where["path"], headers) for _ in range(50)]
            before = started.rss_kb()
            opened = await asyncio.to_thread(
                lambda where=where, headers=headers: [
                    subscribe(where["addresses"]["http"], where["path"], headers) for _ in range(COUNT)
                ]
            )
            await asyncio.sleep(1.5)  # a sweep has passed
            table.add("span-events", (started.rss_kb() - before) * 1024 / COUNT)
            for each in first + opened:
                each.close()
    table.show()
