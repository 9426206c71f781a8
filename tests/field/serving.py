"""A server in a process of its own, whose environment the test decides."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from pathlib import Path

from tests.bench.programs import PROGRAM, Program


def serve(folder: Path, *more: str) -> tuple[str, ...]:
    """Return the command of a server whose files are in a folder."""
    return (PROGRAM, "serve", "--data-dir", str(folder / "data"), "--ready-file", str(folder / "ready"), *more)


async def until_ready(program: Program, folder: Path) -> dict[str, str]:
    """Wait for the end of the banner; return the bound addresses."""
    while "Ctrl-C" not in await program.line():
        pass
    addresses: dict[str, str] = json.loads((folder / "ready").read_text())
    return addresses


async def get(address: str, path: str) -> str:
    """Return the body of a reply, whatever its status."""

    def fetch() -> str:
        try:
            with urllib.request.urlopen(f"http://{address}{path}") as reply:
                return str(reply.read().decode())
        except urllib.error.HTTPError as exc:
            return exc.read().decode()

    return await asyncio.to_thread(fetch)
