"""The streams in wscat, as people have it from npm."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import Program, run

WSCAT = str(Path(__file__).parents[3] / ".cache/npm/node_modules/.bin/wscat")
"""Installed by scripts/test."""


def url(server: LiveServer, path: str) -> str:
    """Return the URL of a stream."""
    return f"ws://{server.addresses['http']}{path}"


@pytest.mark.parametrize("alias", ["/span", ""])
async def test_events_are_printed_line_by_line(server: LiveServer, device: LiveDevice, alias: str) -> None:
    """An object a frame, as Span's dialect has it; also without /span, as Span's own library asks for it."""
    path = f"{alias}/collections/{device.collection}/activity"
    async with Program(WSCAT, "-H", f"X-API-Token: {server.token}", "-c", url(server, path)) as wscat:
        await server.logged(f"path={path}")
        with closing(server.socket_at(device.address, "datagrams")) as sender:
            sender.send(b"hello")
        events = [json.loads(await wscat.line()) for _ in range(2)]

    assert [event["event"] for event in events] == ["clientConnected", "upstreamMessage"]
    for event in events:
        assert (event["collectionId"], event["deviceId"]) == (device.collection, device.id)
        assert event.keys() == {"collectionId", "data", "deviceId", "event", "time"}
        assert all(isinstance(value, str) for value in event["data"].values())


async def test_messages_are_printed_line_by_line(server: LiveServer, device: LiveDevice) -> None:
    """The upstream message socket takes the same token."""
    path = f"{device.path}/from"
    async with Program(WSCAT, "-H", f"X-API-Token: {server.token}", "-c", url(server, path)) as wscat:
        await server.logged(f"path={path}")
        with closing(server.socket_at(device.address, "datagrams")) as sender:
            sender.send(b"hello")
        message = json.loads(await wscat.line())

    assert (message["type"], message["payload"], message["transport"]) == ("data", "aGVsbG8=", "udp")
    assert message["device"]["deviceId"] == device.id


@pytest.mark.parametrize("header", ["X-API-Token: 0123456789abcdef", "X-API-Token: ", "Authorization: Basic dTpw"])
async def test_a_wrong_token_is_refused(server: LiveServer, device: LiveDevice, header: str) -> None:
    """Before the upgrade, with an HTTP status that the tool shows."""
    stream = url(server, f"/span/collections/{device.collection}/activity")
    ended = await run(WSCAT, "-H", header, "-c", stream)

    assert ended.status == 255
    assert "Unexpected server response: 401" in ended.output + ended.complaints


async def test_a_terminal_shows_the_events_too(server: LiveServer, device: LiveDevice) -> None:
    """What a person sees who types the line of the README."""
    stream = url(server, f"/span/collections/{device.collection}/activity")
    command = (WSCAT, "--no-color", "-H", f"X-API-Token: {server.token}", "-c", stream)
    async with Program(*command, terminal=True) as wscat:
        while "Connected" not in await wscat.line():
            pass
        with closing(server.socket_at(device.address, "datagrams")) as sender:
            sender.send(b"hello")
        while "upstreamMessage" not in (line := await wscat.line()):
            pass

    assert f'"deviceId":"{device.id}"' in line
