"""README and guides: every command is run as it is written, against one server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.ports import FREE_VARIABLES
from tests.bench.waiting import PATIENCE, until
from tests.e2e.shells import command_for_shells
from tests.test_readme import GUIDES, PAGES, README, ROOT, blocks

ENDLESS: Final = "# runs until Ctrl-C\n"
AWAITED: Final = {"span-events tail --last 10": "upstreamMessage"}
"""Endless commands that show one thing after the other, and the word of the thing that is awaited."""
AT_ONCE: Final = 4
"""Guides whose commands run at the same time; half of the time, a guide waits for its devices."""
TOOLS: Final = (ROOT / ".venv" / "bin", ROOT / ".cache" / "npm" / "node_modules" / ".bin")
"""Folders of the commands that a reader has by `scripts/serve` and by npx."""
PORTS: Final = (
    ("8080", "http"),
    ("1234", "datagrams"),
    ("1812", "radius"),
    ("1813", "radius-accounting"),
    ("8081", "blobs"),
    ("8443", "blobs_tls"),
    ("1883", "mqtt"),
)
"""Ports in the commands, and the name of each in the ready file."""
ELSEWHERE: Final = {"scaling"}
"""Guides whose commands need more than one server; tests/kit/test_cluster.py runs them."""
SHOWN: Final = {
    "readme": ("upstreamMessage", "Usage: scripts/test"),
    "udp": ("udp-bench",),
    "certificates": ("cert.crt: OK",),
    "mobile-core": ("Framed-IP-Address = 127.0.64.11", "Received Accounting-Response", "Received Access-Reject"),
    "messages": ("reboot",),
    "outputs": ("outputFailed", "privateTarget", "http://127.0.0.1:9000/hook"),
    "blobs": ("image/jpeg",),
    "the-things-stack": ("events.stream.start", "{}"),
    "chirpstack": ('"result":"accepted"', '"topic":"application/', '"hint":"The device joins with another key'),
    "mqtt": ('"type":"data"', "activity/", "/event/up {"),
    "operating": ('span_events_messages_received_total{transport="udp"}', "restored: "),
    "rest": ('"status":"ok"', "span_events_subscribers"),
}
"""Parts of the output of a page's commands."""


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the README's first block in a folder, on free ports; give the addresses."""
    (command,) = (each.removeprefix(ENDLESS).strip() for each in blocks(README, "sh") if "scripts/serve" in each)
    environment = os.environ | FREE_VARIABLES
    ready = folder / "ready.json"
    with (folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ROOT / command, "--ready-file", ready, cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            await until(lambda: ready.exists() or process.returncode is not None)
            assert ready.exists(), (folder / "serve.log").read_text()
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0


async def test_every_command_works_as_it_is_written(tmp_path: Path) -> None:
    """
    Each page's commands run in their order in a shell of its own; the README's first block starts the server of all.

    A guide needs nothing but the variables that the README's first blocks set. Only ports are changed and tools put
    on the path; `span-events` is forked from a process that has loaded it. An endless command runs until it shows
    something.
    """
    async with served(tmp_path) as addresses, command_for_shells(tmp_path) as commands:
        (exports,) = (each for each in blocks(README, "sh") if each.startswith("export PATH="))
        names = " ".join(re.findall(r"^export (\w+)=", exports, re.MULTILINE))
        variables = tmp_path / "variables"
        shown = await _run("readme", tmp_path, commands, addresses, last=f"declare -px {names} > {variables}")
        some = [name for name in GUIDES if name not in ELSEWHERE and blocks(GUIDES[name].read_text(), "sh")]
        turns = asyncio.Semaphore(AT_ONCE)

        async def take_turn(name: str) -> str:
            async with turns:
                return await _run(name, tmp_path, commands, addresses, first=f"source {variables}")

        outputs = {"readme": shown, **dict(zip(some, await asyncio.gather(*map(take_turn, some)), strict=True))}

    for name, parts in SHOWN.items():
        for part in parts:
            assert part in outputs[name], f"{name}: {part} is not in the output of the commands"
    assert outputs["blobs"].count("image/jpeg") == 3, "a blob by address, by certificate and by CoAP"


async def _run(
    name: str, folder: Path, commands: Path, addresses: dict[str, str], *, first: str = "", last: str = ""
) -> str:
    """Run a page's commands between two others, in a folder with the server's data directory; return their output."""
    place = folder / name
    place.mkdir()
    (place / "var").symlink_to(folder / "var")
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", "\n".join([first, script(PAGES[name].read_text(), addresses), last])),
        cwd=place,
        env=os.environ
        | {
            "PATH": os.pathsep.join([str(commands), *map(str, TOOLS), os.environ["PATH"]]),
            "SPAN_API_ENDPOINT": f"http://{addresses['http']}",
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = (each.decode() for each in await asyncio.wait_for(shell.communicate(), 3 * PATIENCE))
    assert shell.returncode == 0, f"{name}: {out[-3000:]}\n{err[-3000:]}"
    return out


def script(page: str, addresses: dict[str, str]) -> str:
    """Make one shell script of a page's blocks, for a server at these addresses."""
    lines = [
        "set -euo pipefail",
        "mkfifo open; exec 9<>open",
        'coap-client() { coap-client-openssl -B 60 "$@"; }',
        *(f'scripts/{each}() {{ "{ROOT}/scripts/{each}" "$@"; }}' for each in ("test", "bench")),
    ]
    for block in blocks(page, "sh"):
        command = block.removeprefix(ENDLESS).strip()
        if command == "scripts/serve":
            continue
        lines.append(_until_shown(command) if block.startswith(ENDLESS) else command)
    text = "\n".join(lines)
    for port, name in PORTS:
        text = re.sub(rf"\b127\.0\.0\.1(:| (?:-p )?){port}\b", rf"127.0.0.1\g<1>{_port(addresses[name])}", text)
    text = text.replace("coaps://127.0.0.1/", f"coaps://{addresses['coaps']}/")
    text = text.replace("coap://127.0.0.1/", f"coap://{addresses['coap']}/")
    targets = f"--datagrams {addresses['datagrams']} --coap {addresses['coap']}"
    text = re.sub(r"span-events simulate (?!gateway|chirpstack)", f"span-events simulate {targets} ", text)
    return text.replace(
        "span-events simulate gateway", f"span-events simulate gateway --gateways {addresses['gateways']}"
    )


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _until_shown(command: str) -> str:
    """Run a command with an open input until it shows something, or the word that is awaited, and end it by Ctrl-C."""
    word = AWAITED.get(command, ".")
    return f"""(set -m # or the shell lets its background processes ignore Ctrl-C
        : > shown # instead of what the command before has shown
        {command.removeprefix("npx ")} > shown <&9 &
        until grep -q {word} shown || ! kill -0 $!; do sleep 0.05; done
        kill -INT $!; wait $! || true
        cat shown; [[ -s shown ]])"""
