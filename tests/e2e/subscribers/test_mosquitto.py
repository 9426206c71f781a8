"""Debian's mosquitto_sub against a running server, with both versions of MQTT."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.waiting import PATIENCE


async def subscribe(
    server: LiveServer, user: str, password: str, *options: str, host: str = "127.0.0.1"
) -> asyncio.subprocess.Process:
    """Start mosquitto_sub with the lines that tell of its packets."""
    port = server.addresses["mqtt"].rpartition(":")[2]
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
async def test_mosquitto_sub_shows_messages_and_events(server: LiveServer, device: LiveDevice, version: str) -> None:
    topics = ("-t", "#", "-t", "activity/#", "-t", "application/+/device/+/event/up")
    process = await subscribe(server, device.collection, server.token, "-V", version, "-v", *topics)
    assert await line(process, "Subscribed") == "Subscribed (mid: 1): 0, 0, 0\n"
    await server.coap_client(device.address, "-m", "post", "-e", "hello")
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    while found.keys() != {device.collection, "activity", "application"}:
        text = await line(process, "")
        topic, _, payload = text.partition(" ")
        if payload.startswith("{"):
            found.setdefault(topic.partition("/")[0], (topic, json.loads(payload)))
    process.terminate()
    await process.wait()

    assert found["activity"][1]["event"] == "clientConnected"
    assert found[device.collection][0] == f"{device.collection}/{device.id}"
    assert found[device.collection][1]["payload"] == found["application"][1]["data"] == "aGVsbG8="


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("5", "Connection error: Bad User Name or Password\n"),
        ("311", "Connection error: Connection Refused: bad user name"),
    ],
)
async def test_mosquitto_sub_says_why_it_was_refused(server: LiveServer, version: str, sentence: str) -> None:
    process = await subscribe(server, "*", "f" * 64, "-V", version, "-t", "#")
    assert (await line(process, "Connection error")).startswith(sentence)
    await process.wait()


async def test_mosquitto_sub_trusts_the_servers_root_over_tls(tmp_path: Path) -> None:
    """It checks the host name, too; with another root it ends."""
    with LiveServer(tmp_path, {"mqtt.tls": "true"}) as server:
        root = str(server.data_dir / "pki" / "root.pem")
        process = await subscribe(server, "*", server.token, "--cafile", root, "-t", "#", host="localhost")
        assert await line(process, "Subscribed") == "Subscribed (mid: 1): 0\n"
        process.terminate()
        await process.wait()
        stranger = await subscribe(server, "*", server.token, "--capath", "/etc/ssl/certs", "-t", "#", host="localhost")
        output, _ = await stranger.communicate()

    assert stranger.returncode != 0
    assert b"CONNACK" not in output
