"""Debian's mosquitto_sub against a running server, with both versions of MQTT."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE


async def subscribe(server: LiveServer, user: str, password: str, *options: str) -> asyncio.subprocess.Process:
    """Start mosquitto_sub with the lines that tell of its packets."""
    host, _, port = server.addresses["mqtt"].rpartition(":")
    return await asyncio.create_subprocess_exec(
        *("stdbuf", "-oL", "mosquitto_sub", "-h", host, "-p", port, "-u", user, "-P", password, "-d", *options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def line(process: asyncio.subprocess.Process, begin: str) -> str:
    """Return the next line that begins with a text."""
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while octets := await process.stdout.readline():
            if (text := octets.decode()).startswith(begin):
                return text
    raise AssertionError(f"no line begins with {begin}")


@pytest.mark.parametrize("version", ["5", "311"])
async def test_mosquitto_sub_shows_messages_and_events(tmp_path: Path, version: str) -> None:
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        process = await subscribe(
            server, device.collection, server.token, "-V", version, "-v", "-t", "#", "-t", "activity/#"
        )
        assert await line(process, "Subscribed") == "Subscribed (mid: 1): 0, 0\n"
        await server.coap_client(device.address, "-m", "post", "-e", "hello")
        event = await line(process, f"activity/{device.collection}/{device.id}/upstreamMessage ")
        message = await line(process, f"{device.collection}/")
        process.terminate()
        await process.wait()

    topic, _, payload = message.partition(" ")
    assert topic == f"{device.collection}/{device.id}"
    assert json.loads(payload)["payload"] == "aGVsbG8="
    assert json.loads(event.partition(" ")[2])["event"] == "upstreamMessage"


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("5", "Connection error: Bad User Name or Password\n"),
        ("311", "Connection error: Connection Refused: bad user name"),
    ],
)
async def test_mosquitto_sub_says_why_it_was_refused(tmp_path: Path, version: str, sentence: str) -> None:
    with LiveServer(tmp_path) as server:
        process = await subscribe(server, "*", "f" * 64, "-V", version, "-t", "#")
        assert (await line(process, "Connection error")).startswith(sentence)
        await process.wait()
