"""Debian's mosquitto as a broker beside this server, with its clients."""

from __future__ import annotations

import asyncio
import subprocess
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.bench.ports import free_port
from tests.bench.waiting import until


class Mosquitto:
    """A broker on a port that stays the same over restarts."""

    def __init__(self, folder: Path, *settings: str) -> None:
        self.port = free_port()
        self.settings = settings or ("allow_anonymous true",)
        self._folder = folder
        self._log = folder / "mosquitto.log"
        self._process: Process | None = None

    async def start(self) -> None:
        """Run it, and wait until it listens."""
        config = self._folder / "mosquitto.conf"
        config.write_text("\n".join(["user root", f"listener {self.port} 127.0.0.1", *self.settings, ""]))
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                "mosquitto", "-v", "-c", config, stdout=log, stderr=log
            )
        await until(lambda: "running" in self.log)

    @property
    def log(self) -> str:
        """Its log since the last start."""
        return self._log.read_text(errors="replace")

    async def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.terminate()
            await self._process.wait()
            self._process = None

    async def restart(self) -> None:
        """End it, and run it again on the same port."""
        await self.stop()
        await self.start()

    @property
    def endpoint(self) -> str:
        """The address as outputs take it."""
        return f"mqtt://127.0.0.1:{self.port}"


def password_file(folder: Path) -> Path:
    """Write the password of a user."""
    path = folder / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "me", "right"], check=True)
    return path


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a certificate that nobody trusts; return its file and that of its key."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    files = ["-subj", "/CN=x", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*command, *files], check=True, capture_output=True)
    return certificate, key


@asynccontextmanager
async def subscribed(broker: Mosquitto, count: int) -> AsyncIterator[Process]:
    """Run mosquitto_sub for some messages."""
    process = await asyncio.create_subprocess_exec(
        *("mosquitto_sub", "-p", str(broker.port), "-t", "#", "-C", str(count), "-F", "%t %p"), stdout=PIPE
    )
    await until(lambda: "Sending SUBACK" in broker.log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def publish(broker: Mosquitto, topic: str, payload: bytes, *options: str) -> None:
    """Run mosquitto_pub."""
    command = ("mosquitto_pub", "-p", str(broker.port), "-t", topic, "-s", *options)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stderr=PIPE)
    _, complaint = await process.communicate(payload)
    assert process.returncode == 0, complaint


@asynccontextmanager
async def mosquitto(folder: Path, *settings: str) -> AsyncIterator[Mosquitto]:
    """Run a broker; without settings, it admits all clients."""
    broker = Mosquitto(folder, *settings)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.stop()
