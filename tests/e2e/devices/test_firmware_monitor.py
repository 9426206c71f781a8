"""A fleet's update from the command line: uploaded, assigned, watched; the devices are libcoap's client."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from tests.bench.live import LiveDevice, LiveServer
from tests.bench.programs import PROGRAM, Program

CONTROL: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LENGTH: Final = 100_000


def firmware(server: LiveServer, *arguments: str, terminal: bool = False) -> Program:
    """Make a command; enter it to start it."""
    environment = {
        "SPAN_API_ENDPOINT": f"http://{server.addresses['http']}",
        "SPAN_API_TOKEN": server.token,
        "COLUMNS": "120",
        "LINES": "30",
    }
    return Program(PROGRAM, "firmware", *arguments, environment=environment, terminal=terminal)


async def output(server: LiveServer, *arguments: str) -> str:
    """Run a command to its end, and return what it printed."""
    async with firmware(server, *arguments) as program:
        finished = await program.finish()
    assert finished.status == 0, finished.complaints
    return finished.output.strip()


async def assigned(server: LiveServer, collection: str, folder: Path) -> bytes:
    """Upload an image and let all devices of a collection run it; return its octets."""
    path = folder / "app.bin"
    path.write_bytes(os.urandom(LENGTH))
    image = await output(server, "upload", "-c", collection, str(path), "--version", "1.1")
    await output(server, "assign", "-c", collection, image, "--management", "collection")
    return path.read_bytes()


async def report(server: LiveServer, device: LiveDevice, folder: Path, version: str) -> None:
    """Let a device tell its version."""
    path = folder / "report"
    path.write_bytes(bytes([1, len(version)]) + version.encode())
    await server.coap_client(device.address, "-m", "post", "-f", str(path), "-o", os.devnull, path="u")


async def download(server: LiveServer, device: LiveDevice, folder: Path) -> bytes:
    """Let a device fetch its image."""
    path = folder / "downloaded"
    await server.coap_client(device.address, "-m", "get", "-o", str(path), path="fw")
    return path.read_bytes()


async def until(program: Program, words: str) -> str:
    """Read on until a line has these words, and return it without what moves the cursor and colours."""
    while words not in (line := CONTROL.sub("", await program.line())):
        pass
    return line


async def test_a_terminal_shows_a_progress_bar(server: LiveServer, device: LiveDevice, tmp_path: Path) -> None:
    """The command ends when the device runs its target."""
    octets = await assigned(server, device.collection, tmp_path)
    async with firmware(server, "monitor", "-c", device.collection, "--until-done", terminal=True) as program:
        waiting = await until(program, "Pending")
        await report(server, device, tmp_path, "1.0")
        downloaded = await download(server, device, tmp_path)
        fetched = await until(program, "Updating")
        await report(server, device, tmp_path, "1.1")
        finished = await program.finish()

    assert downloaded == octets
    assert re.search(rf"{device.id}  ╌+    0 %  Pending .* → 1\.1", waiting)
    assert re.search(rf"{device.id}  ━+  100 %  Updating +1\.0 → 1\.1", fetched)
    assert re.search(rf"{device.id}  ━+  100 %  Current +1\.1", CONTROL.sub("", finished.output))
    assert finished.complaints == "-- 1 of 1 run what they should\n"
    assert finished.status == 0


async def test_the_exit_status_shows_a_failed_update(server: LiveServer, device: LiveDevice, tmp_path: Path) -> None:
    """The device fetches all of the image, and reports the old version again."""
    await assigned(server, device.collection, tmp_path)
    await report(server, device, tmp_path, "1.0")
    async with firmware(server, "monitor", "-c", device.collection, "--until-done") as program:
        first = await program.line()
        await download(server, device, tmp_path)
        await report(server, device, tmp_path, "1.0")
        finished = await program.finish()

    assert re.fullmatch(rf"\d\d:\d\d:\d\d  {device.id}  1\.0 → 1\.1  Pending  0 %  .*", first)
    assert re.search(rf"{device.id}  1\.0 → 1\.1  UpdateFailed  100 %  downloaded 1\.1 to the end", finished.output)
    assert finished.complaints == "-- 0 of 1 run what they should, 1 failed\n"
    assert finished.status == 1
