"""Clients that drop and resume with ``Last-Event-ID`` while events flow."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from span_events.ids import from_ulid
from tests.bench.servers import Running, activity, running
from tests.bench.waiting import PATIENCE

CLIENTS = 12
EVENTS = 400
BURST = 10


class Client:
    """A client of Server-Sent Events that drops now and then."""

    def __init__(self, url: str, session: aiohttp.ClientSession, seed: int) -> None:
        self.payloads: list[int] = []
        """Sizes of the messages that it has seen, which count them."""
        self.gaps = 0
        self._url = url
        self._session = session
        self._random = random.Random(seed)
        self._last = ""

    async def follow(self, ready: asyncio.Semaphore) -> None:
        """Watch until the last event, with several connections."""
        while not self.payloads or self.payloads[-1] < EVENTS:
            resume = {"Last-Event-ID": self._last} if self._last else {}
            async with self._session.get(self._url, headers=resume) as reply:
                ready.release()
                for _ in range(self._random.randrange(1, 60)):
                    self._take((await reply.content.readuntil(b"\n\n")).decode())
                    if self.payloads and self.payloads[-1] == EVENTS:
                        return
            await asyncio.sleep(0)

    def _take(self, block: str) -> None:
        fields = dict(line.split(": ", 1) for line in block.strip().splitlines())
        if "id" not in fields:
            return
        assert not self._last or from_ulid(fields["id"]) > from_ulid(self._last)
        self._last = fields["id"]
        found: dict[str, Any] = json.loads(fields["data"])
        if found["event"] == "eventsDropped":
            assert found["data"]["reason"] == "historyGap"
            self.gaps += 1
        elif found["event"] == "upstreamMessage":
            self.payloads.append(int(found["data"]["bytes"]))


async def storm(site: Running) -> list[Client]:
    """Let clients come and go while a device sends messages of 1, 2, 3 … octets."""
    collection = await site.collection()
    device = await site.device(collection)
    headers = {"X-API-Token": site.token, "Accept": "text/event-stream"}
    async with (
        aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.timeout(PATIENCE),
        asyncio.TaskGroup() as tasks,
    ):
        url = f"http://{site.http}{activity(collection)}"
        clients = [Client(url, session, seed) for seed in range(CLIENTS)]
        ready = asyncio.Semaphore(0)
        for each in clients:
            tasks.create_task(each.follow(ready))
        for _ in clients:
            await ready.acquire()
        await site.joined(CLIENTS)
        for size in range(1, EVENTS + 1):
            site.receive(device, b"x" * size)
            if size % BURST == 0:  # who drops in the middle of a burst has missed the rest of it
                await site.clock.advance(0.001)
    return clients


@pytest.fixture
def limits() -> dict[str, Any]:
    """No limit of rates."""
    return {"rate": 1e9, "burst": 1_000_000_000}


async def test_each_event_comes_exactly_once_while_the_gap_fits_the_history(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    async with running(tmp_path, messages=limits, events={"history_per_collection": EVENTS + 10}) as site:
        clients = await storm(site)

    assert [each.gaps for each in clients] == [0] * CLIENTS
    assert [each.payloads for each in clients] == [list(range(1, EVENTS + 1))] * CLIENTS


async def test_a_marker_stands_where_the_gap_does_not_fit(tmp_path: Path, limits: dict[str, Any]) -> None:
    """No event comes twice, and where one is missing, a marker came before the next."""
    async with running(tmp_path, messages=limits, events={"history_per_collection": 3}) as site:
        clients = await storm(site)

    for each in clients:
        holes = sum(after - before > 1 for before, after in zip(each.payloads, each.payloads[1:], strict=False))
        assert each.payloads == sorted(set(each.payloads))
        assert holes <= each.gaps
    assert sum(each.gaps for each in clients) > 0
