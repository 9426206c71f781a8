"""Paho and MQTT.js, as the guide to MQTT has them, and as Span's own tools use MQTT."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import Program
from tests.bench.waiting import PATIENCE

ROOT: Final = Path(__file__).parents[3]
MODULES: Final = str(ROOT / ".cache/npm/node_modules")
"""MQTT.js; installed by scripts/test."""
GUIDE: Final = (ROOT / "span_events/guides/mqtt.md").read_text()


def program(server: LiveServer, language: str) -> Program:
    """Make a program of the guide's one block in a language."""
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
    port = server.addresses["mqtt"].rpartition(":")[2]
    code = code.replace("1883", port).replace("127.0.0.1:8080", server.addresses["http"])
    command = ("node", "-e", code) if language == "js" else (sys.executable, "-c", code)
    return Program(*command, environment={"NODE_PATH": MODULES, "SPAN_API_TOKEN": server.token})


async def line_of(client: Program, begin: str) -> str:
    """Return the first line that begins with a text."""
    while not (line := await client.line()).startswith(begin):
        pass
    return line


@pytest.mark.parametrize(("language", "protocol"), [("python", "MQTT 5"), ("js", "MQTT 3.1.1")])
async def test_the_guides_clients_show_events(
    server: LiveServer, device: LiveDevice, language: str, protocol: str
) -> None:
    async with program(server, language) as client:
        await server.logged(f"protocol='{protocol}' remote=127.0.0.1 token=")
        topic = f"activity/{device.collection}/{device.id}/upstreamMessage "
        shown = asyncio.create_task(line_of(client, topic))
        async with asyncio.timeout(PATIENCE):
            while not shown.done():  # the subscription comes after the log line
                with closing(server.socket_at(device.address, "datagrams")) as sender:
                    sender.send(b"hello")
                await asyncio.wait([shown], timeout=0.1)
        line = await shown

    assert "info" in line


async def test_a_client_as_spans_own_sees_messages(server: LiveServer, device: LiveDevice) -> None:
    """MQTT 5 with keepalive, and a subscription with QoS 1, which is granted as 0."""
    loop = asyncio.get_running_loop()
    granted: asyncio.Future[list[int]] = loop.create_future()
    received: asyncio.Future[paho.MQTTMessage] = loop.create_future()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"spancli_{os.getpid()}", protocol=paho.MQTTv5)
    client.username_pw_set(device.collection, server.token)
    client.on_connect = lambda client, *_: client.subscribe(f"{device.collection}/#", qos=1)

    def on_subscribe(_client: paho.Client, _data: object, _mid: int, codes: list[ReasonCode], _more: object) -> None:
        loop.call_soon_threadsafe(granted.set_result, [each.value for each in codes])

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        loop.call_soon_threadsafe(received.set_result, message)

    client.on_subscribe, client.on_message = on_subscribe, on_message
    host, _, port = server.addresses["mqtt"].rpartition(":")
    client.connect(host, int(port), keepalive=30)
    client.loop_start()
    try:
        async with asyncio.timeout(PATIENCE):
            assert await granted == [0]
            with closing(server.socket_at(device.address, "datagrams")) as sender:
                sender.send(b"hello")
            publication = await received
    finally:
        client.disconnect()
        client.loop_stop()

    message = json.loads(publication.payload)
    assert publication.topic == f"{device.collection}/{device.id}"
    assert (message["type"], message["payload"], message["transport"]) == ("data", "aGVsbG8=", "udp")
