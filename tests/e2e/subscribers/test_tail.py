"""``span-events tail`` in a process of its own: on a terminal, in a pipe, and across a restart of the server."""

from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path
from typing import Final

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.ports import free_port
from tests.bench.programs import PROGRAM, Program
from tests.e2e.subscribers.test_wscat import WSCAT

COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")


def tail(server: LiveServer, *arguments: str, terminal: bool = False) -> Program:
    """Make a tail; enter it to start it."""
    environment = {"SPAN_API_ENDPOINT": f"http://{server.addresses['http']}", "SPAN_API_TOKEN": server.token}
    return Program(PROGRAM, "tail", *arguments, environment=environment, terminal=terminal)


async def joined(server: LiveServer, device: LiveDevice) -> None:
    """Wait until somebody watches the collection."""
    await server.logged(f"path=/span/collections/{device.collection}/activity")


async def send(server: LiveServer, device: LiveDevice, payload: bytes = b"hello") -> None:
    """Send a message; it has arrived when this returns."""
    await server.coap_client(device.address, "-m", "post", "-e", payload.decode())


async def provoke(server: LiveServer, device: LiveDevice) -> None:
    """Make a message arrive, and another one be refused."""
    await send(server, device)
    await server.call("PATCH", device.path, {"enabled": False})
    with closing(server.socket_at(device.address, "datagrams")) as sender:
        sender.send(b"hello?")


async def test_a_terminal_gets_colours_and_hints(server: LiveServer, device: LiveDevice) -> None:
    """A warning stands out, and below it stands what to try."""
    async with tail(server, "-c", device.collection, terminal=True) as program:
        await joined(server, device)
        await provoke(server, device)
        while "messageRejected" not in (warning := await program.line()):
            pass
        hint = await program.line()

    assert COLOUR.search(warning)
    assert COLOUR.search(hint)
    assert "reason=deviceDisabled" in COLOUR.sub("", warning)
    assert COLOUR.sub("", hint).strip().startswith("→ ")


async def test_a_pipe_gets_the_same_lines_plain(server: LiveServer, device: LiveDevice) -> None:
    """So that grep and less work; hints are there too."""
    async with tail(server, "-c", device.collection) as program:
        await joined(server, device)
        await provoke(server, device)
        lines = [await program.line()]
        while not lines[-1].strip().startswith("→ "):
            lines.append(await program.line())

    assert not any("\x1b" in line for line in lines)
    assert [line.split()[1:4] for line in lines[:-1]] == [
        ["info", device.id, "clientConnected"],
        ["info", device.id, "upstreamMessage"],
        ["info", device.id, "clientDisconnected"],
        ["info", device.id, "deviceUpdated"],
        ["warning", device.id, "messageRejected"],
    ]


async def test_past_events_come_first(server: LiveServer, device: LiveDevice) -> None:
    """--last shows what happened before one looked."""
    await send(server, device)
    async with tail(server, "-c", device.collection, "-e", "/Message$/", "-n", "5") as program:
        line = await program.line()

    assert "upstreamMessage" in line


async def test_json_lines_are_the_servers_bytes(server: LiveServer, device: LiveDevice) -> None:
    """Octet by octet what another client gets."""
    path = f"/collections/{device.collection}/activity"
    other = (WSCAT, "-H", f"X-API-Token: {server.token}", "-c", f"ws://{server.addresses['http']}{path}")
    async with Program(*other) as wscat, tail(server, "-c", device.collection, "--json") as program:
        await server.logged(f"path={path}")
        await joined(server, device)
        await provoke(server, device)
        lines = [(await wscat.line(), await program.line()) for _ in range(5)]

    assert [json.loads(line)["event"] for line, _ in lines][-1] == "messageRejected"
    assert all(theirs == ours for theirs, ours in lines)


async def test_tail_reconnects_after_a_restart(tmp_path: Path) -> None:
    """The stream goes on behind its last event; that the server forgot what was before is said."""
    with LiveServer(tmp_path, {"http.port": free_port()}) as server:
        device = await server.add_device(await server.add_collection())
        only = ("-e", "upstreamMessage", "-e", "eventsDropped")
        async with (
            tail(server, *only) as table,
            tail(server, *only, "-c", device.collection, "--json", "--extended") as program,
        ):
            await server.logged("path=/span/activity")
            await joined(server, device)
            await send(server, device, b"1")
            before = [await table.line(), await program.line()]
            server.stop()
            lost = [await each.complaint() for each in (table, program)]
            server.start()
            await send(server, device, b"22")  # tail may not be back yet
            after = [await table.line(), await table.line(), await table.line()]
            gap, second = json.loads(await program.line()), json.loads(await program.line())
            back = [await each.complaint() for each in (table, program)]
            await send(server, device, b"333")
            live, third = await table.line(), json.loads(await program.line())

    assert "bytes=1 " in before[0]
    assert all("the server is shutting down (1001" in each for each in lost)
    assert all("connected again" in each for each in back)
    assert "EVENTS ARE MISSING HERE" in after[0]
    assert "historyGap" in after[0]
    assert after[1].strip().startswith("→ ")
    assert "bytes=2 " in after[2]
    assert "bytes=3 " in live
    assert (gap["event"], gap["data"]["reason"]) == ("eventsDropped", "historyGap")
    assert json.loads(before[1])["id"] < gap["data"]["lastId"], "the server knows nothing of the time before it began"
    assert [each["data"]["bytes"] for each in (second, third)] == ["2", "3"]
