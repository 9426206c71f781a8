"""The measure of all attacks, measured without one."""

from __future__ import annotations

import asyncio

from tests.attacks.bystander import bystander
from tests.bench.live import LiveServer


async def test_a_bystander_of_an_idle_server_gets_answers_at_once(server: LiveServer) -> None:
    async with bystander(server) as seen:
        for _ in range(10):  # long enough for some tens of answers: a median of one is no figure
            await asyncio.gather(*(server.call("GET", "/span/collections") for _ in range(20)))

    seen.check()
    assert seen.waits
    assert str(seen).startswith(f"bystander: {len(seen.waits)} answers, 0 lost, median ")
