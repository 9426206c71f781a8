"""``span-events expect``: hardware in the loop in one line of a test."""

from __future__ import annotations

import json

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import PROGRAM, Program
from tests.e2e.subscribers.test_tail import joined, provoke, send


def expect(server: LiveServer, *arguments: str) -> Program:
    """Make an expect; enter it to start it."""
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}
    return Program(PROGRAM, "expect", *arguments, environment=environment)


async def test_events_that_come_in_order_are_status_0(server: LiveServer, device: LiveDevice) -> None:
    """The device may start when the stream is open."""
    async with expect(
        server, "clientConnected", "upstreamMessage", "-c", device.collection, "-d", device.id, "--json"
    ) as program:
        await joined(server, device)
        await send(server, device)
        ended = await program.finish()

    assert ended.status == 0
    assert [each["event"] for each in json.loads(ended.output)] == ["clientConnected", "upstreamMessage"]


async def test_an_event_that_must_not_come_is_status_1_with_its_hint(server: LiveServer, device: LiveDevice) -> None:
    async with expect(
        server, "deviceRemoved", "--not", "messageRejected", "-c", device.collection, "--within", "2m"
    ) as program:
        await joined(server, device)
        await provoke(server, device)
        ended = await program.finish()

    assert ended.status == 1
    assert "messageRejected came, which must not" in ended.printed
    assert "→ " in ended.printed


async def test_a_mistyped_event_is_named_before_anything_waits(server: LiveServer) -> None:
    async with expect(server, "clientConected") as program:
        ended = await program.finish()

    assert ended.status != 0
    assert "clientConnected" in ended.printed
