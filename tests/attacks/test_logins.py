"""Many logins at once: guesses of passwords, each of which costs the server 40 ms of processor time."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp

from tests.attacks.bystander import bystander
from tests.bench.live import LiveServer

GUESSES = 300
AT_ONCE = 30


async def guess(server: LiveServer, session: aiohttp.ClientSession, number: int) -> str:
    """Guess a password; return the result, or the status of the refusal."""
    body = {"email": f"user{number % 50}@example.com", "password": f"hunter-{number}", "passcode": ""}
    async with session.post(f"http://{server.addresses['http']}/dejavu/v1/login", json=body) as reply:
        document = await reply.json(content_type=None)
        return str(document["result"]) if reply.status == 200 else str(reply.status)


async def attack(server: LiveServer) -> Counter[str]:
    """Make many guesses, some at a time."""
    found = Counter[str]()
    numbers = iter(range(GUESSES))
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for number in numbers:
                found[await guess(server, session, number)] += 1

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return found


async def test_guesses_of_passwords_do_not_slow_a_bystander(server: LiveServer) -> None:
    """From one address, which is slowed down after its tenth."""
    async with bystander(server) as seen:
        found = await attack(server)

    seen.check()
    assert found == {"RESULT_INVALID": 10, "429": GUESSES - 10}
    await server.logged("login_failed")
    assert "hunter" not in server.log
    assert "user1@" not in server.log


async def test_checks_of_passwords_do_not_slow_a_bystander(tmp_path: Path) -> None:
    """From so many addresses that none is slowed down: checks run one after the other, and few wait."""
    settings = {"logins.failures_per_address": 100_000, "logins.failures_per_account": 100_000}
    with LiveServer(tmp_path, settings) as server:
        async with bystander(server) as seen:
            found = await attack(server)

    seen.check()
    assert found.keys() == {"RESULT_INVALID", "503"}
    assert found["RESULT_INVALID"] >= 20
