"""Debian's nats-server, on a port that stays the same over restarts."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.ports import free_port
from tests.bench.programs import find_program
from tests.bench.waiting import until


class NatsServer:
    """
    A server in a process of its own.

    Args:
        folder: For its log and its configuration.
        settings: Lines of its configuration besides the ports.
    """

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port, self._monitor = free_port(), free_port()
        self._folder = folder
        self._settings = settings
        self._log = folder / "nats.log"
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The address as ``bus.url`` takes it."""
        return f"nats://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Run it, and wait until it takes clients."""
        config = self._folder / "nats.conf"
        ports = (f"listen: 127.0.0.1:{self.port}", f"http: 127.0.0.1:{self._monitor}")
        config.write_text("\n".join([*ports, *self._settings, ""]))
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                find_program("nats-server"), "-c", config, stdout=log, stderr=log
            )
        await until(lambda: "Server is ready" in self._log.read_text(errors="replace"))

    async def kill(self) -> None:
        """End it without a goodbye."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it neither read nor write."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def ask(self, path: str) -> dict[str, Any]:
        """Return a page of its monitoring: ``varz``, ``connz``, ``subsz``, ``jsz``."""

        def get() -> dict[str, Any]:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/{path}") as reply:
                found: dict[str, Any] = json.load(reply)
                return found

        return await asyncio.to_thread(get)


@asynccontextmanager
async def nats_server(folder: Path, *settings: str) -> AsyncIterator[NatsServer]:
    """Run a server."""
    server = NatsServer(folder, *settings)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


def jetstream(folder: Path) -> str:
    """Return the setting that gives a server JetStream, in memory only."""
    return f'jetstream: {{store_dir: "{folder / "store"}", max_memory_store: 256MB, max_file_store: 0}}'
