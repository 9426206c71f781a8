"""The README: its tables are rendered from the code, and each of its commands is run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from span_events.events.reference import render_table
from tests.bench.ports import FREE_VARIABLES
from tests.bench.waiting import until

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
ENDLESS = "# runs until Ctrl-C\n"
TOOLS = (ROOT / ".venv" / "bin", ROOT / ".cache" / "npm" / "node_modules" / ".bin")
"""Where the commands are that a person has by `scripts/serve` and by npx."""


def test_the_table_of_events_is_rendered_from_the_catalogue() -> None:
    """Name, meaning and keys cannot fall behind."""
    assert render_table() in README


def test_every_code_block_says_what_it_is() -> None:
    """Shell blocks are run below; there is no other kind but one for browsers."""
    assert set(re.findall(r"^```(\w*)$", README, re.MULTILINE)) == {"", "sh", "js"}
    assert len(BLOCKS) > 8


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the README's first block in a folder, on free ports; give the addresses."""
    (command,) = (each.removeprefix(ENDLESS).strip() for each in BLOCKS if each.startswith(ENDLESS + "scripts/serve"))
    environment = os.environ | FREE_VARIABLES
    ready = folder / "ready.json"
    with (folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ROOT / command, "--ready-file", ready, cwd=folder, env=environment, stdout=log, stderr=log
        )
        try:
            await until(lambda: ready.exists() or process.returncode is not None, within=60)
            assert ready.exists(), (folder / "serve.log").read_text()
            yield json.loads(ready.read_text())
        finally:
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0


async def test_every_command_works_as_it_stands(tmp_path: Path) -> None:
    """
    All blocks are run by one shell, in their order, against a server that the first of them started.

    Only ports are changed and tools put on the path; what runs until Ctrl-C gets three seconds in
    which it must show something.
    """
    async with served(tmp_path) as addresses:
        shell = await asyncio.create_subprocess_exec(
            "bash",
            "-c",
            script(addresses),
            cwd=tmp_path,
            env=os.environ
            | {
                "PATH": os.pathsep.join([*map(str, TOOLS), os.environ["PATH"]]),
                "SPAN_API_ENDPOINT": f"http://{addresses['http']}",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = (each.decode() for each in await asyncio.wait_for(shell.communicate(), 120))

    assert shell.returncode == 0, f"{out[-3000:]}\n{err[-3000:]}"
    for seen in (
        "upstreamMessage",
        "reboot",
        "this-computer",
        "cert.crt: OK",
        "Framed-IP-Address = 127.0.64.11",
        "Received Accounting-Response",
        "Received Access-Reject",
        '"status":"ok"',
        "span_events_subscribers",
    ):
        assert seen in out, f"{seen} is not in what the commands showed"
    assert out.count("image/jpeg") == 3, "a blob by address, by certificate and by CoAP"


def script(addresses: dict[str, str]) -> str:
    """Make one shell script of the README's blocks, for a server at these addresses."""
    lines = [
        "set -euo pipefail",
        'coap-client() { coap-client-openssl -B 5 "$@"; }',
        *(f'scripts/{each}() {{ "{ROOT}/scripts/{each}" "$@"; }}' for each in ("test", "bench")),
    ]
    for block in BLOCKS:
        command = block.removeprefix(ENDLESS).strip()
        if command == "scripts/serve":
            continue
        lines.append(_shown_for_a_while(command) if block.startswith(ENDLESS) else command)
    text = "\n".join(lines)
    for port, name in (
        ("8080", "http"),
        ("1234", "datagrams"),
        ("1812", "radius"),
        ("1813", "radius-accounting"),
        ("8081", "blobs"),
        ("8443", "blobs_tls"),
    ):
        text = re.sub(rf"\b127\.0\.0\.1([: ]){port}\b", rf"127.0.0.1\g<1>{_port(addresses[name])}", text)
    text = text.replace("coaps://127.0.0.1/", f"coaps://{addresses['coaps']}/")
    text = text.replace("coap://127.0.0.1/", f"coap://{addresses['coap']}/")
    targets = f"--datagrams {addresses['datagrams']} --coap {addresses['coap']}"
    text = re.sub(r"span-events simulate (?!gateway)", f"span-events simulate {targets} ", text)
    return text.replace(
        "span-events simulate gateway", f"span-events simulate gateway --gateways {addresses['gateways']}"
    )


def _port(address: str) -> str:
    return address.rpartition(":")[2]


def _shown_for_a_while(command: str) -> str:
    """Let a command run for three seconds with an open input; fail if it shows nothing."""
    return f"(sleep 4 | timeout -s INT 3 {command.removeprefix('npx ')} > shown) || true; cat shown; [[ -s shown ]]"
