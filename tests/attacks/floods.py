"""Starts the flooding gateway."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

from tests.bench.live import LiveServer
from tests.bench.waiting import PATIENCE

_PROGRAM: Final = Path(__file__).with_name("flooding_gateway.py")


async def flood(server: LiveServer, arguments: tuple[str, ...]) -> str:
    """Let a gateway flood, again and again, until the second GOAWAY; return the code of the first."""
    host, _, port = server.addresses["gateways"].rpartition(":")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(_PROGRAM), host, port, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        codes = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
        await process.communicate(b"")  # ends its standard input
    assert process.returncode == 0
    return codes[0]
