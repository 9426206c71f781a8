"""The measure of all attacks, measured without one."""

from __future__ import annotations

from tests.attacks.bystander import bystander
from tests.bench.live import LiveServer


async def test_a_bystander_of_an_idle_server_gets_answers(server: LiveServer) -> None:
    async with bystander(server) as seen:
        await server.call("GET", "/span/collections")

    seen.check()
    assert str(seen).startswith(f"bystander: {len(seen.waits)} answers, 0 lost, median ")
