"""
A bystander: another device, whose messages are measured while a client attacks.

Use it around the attack, then check it::

    async with bystander(server) as seen:
        ...  # the attack
    seen.check()
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE

MEDIAN: Final = 5.0
"""Seconds until an answer, at the median; generous, since other tests share the processor: read the figures."""

_PROGRAM: Final = Path(__file__).with_name("device.py")


class Bystander:
    """The answers that a device got during an attack."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        """Seconds until each answer, ascending."""
        self.lost = 0
        """Number of messages without an answer, or with an answer other than 2.xx."""

    def __str__(self) -> str:
        figures = ((self.at(0.5), "median"), (self.at(0.99), "p99"), (self.at(1.0), "worst"))
        told = ", ".join(f"{name} {seconds * 1000:.1f} ms" for seconds, name in figures)
        return f"bystander: {len(self.waits)} answers, {self.lost} lost, {told}"

    def at(self, share: float) -> float:
        """Return the seconds within which this share of the answers came."""
        return self.waits[min(len(self.waits) - 1, int(len(self.waits) * share))] if self.waits else float("inf")

    def check(self) -> None:
        """Make sure that the device got an answer to each message, and did not have to wait for the attack's end."""
        assert self.waits, self
        assert self.lost == 0, self
        assert self.at(0.5) < MEDIAN, self


@asynccontextmanager
async def bystander(server: LiveServer) -> AsyncIterator[Bystander]:
    """Let a device of a new collection post CoAP messages meanwhile; its figures are there after the block."""
    device = await server.add_device(await server.add_collection())
    host, _, port = server.addresses["coap"].rpartition(":")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_PROGRAM), host, port, device.address),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    seen = Bystander()
    try:
        async with asyncio.timeout(PATIENCE):
            await process.stdout.readline()
        yield seen
    finally:
        async with asyncio.timeout(PATIENCE):
            output, _ = await process.communicate(b"")  # closes its standard input
    waits: list[float | None] = json.loads(output)
    seen.waits = sorted(wait for wait in waits if wait is not None)
    seen.lost = waits.count(None)
    print(seen)  # noqa: T201  # the figure of the run, see `pytest -rP`
