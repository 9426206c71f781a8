"""Shared parts of the benchmarks: servers in separate processes, a client that drains streams, tables."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import selectors
import signal
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
SERVER_CORE, CLIENT_CORE = 0, max(0, (os.cpu_count() or 1) - 1)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    rounds: int
    seconds: float
    harness: Path | None
    uvloop: bool

    def tool(self, name: str) -> str | None:
        """Return a tool of the C harness, if there is one."""
        path = self.harness / name if self.harness else None
        return str(path) if path is not None and path.exists() else None


class Process:
    """A server in a process of its own, pinned to the server's core."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    async def answer(self) -> dict[str, Any]:
        """Read the next line of its output, which is JSON."""
        assert self._process.stdout
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError("the server under test ended without an answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def tell(self, text: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin
        self._process.stdin.write(text.encode() + b"\n")

    def cpu(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def rss_kb(self) -> int:
        """Resident memory."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")


@asynccontextmanager
async def server(variant: str, *arguments: str, uvloop: bool = False) -> AsyncIterator[Process]:
    """Start a server of `servers/`."""
    command = [sys.executable, "-m", "scripts.benchmarks.servers", variant, *arguments]
    async with process([*command, *(["--uvloop"] if uvloop else [])], core=SERVER_CORE) as started:
        yield started


@asynccontextmanager
async def process(command: Sequence[str], *, core: int) -> AsyncIterator[Process]:
    """Start something on a core, and end it."""
    started = await asyncio.create_subprocess_exec(
        "taskset",
        "-c",
        str(core),
        *command,
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Process(started)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        await started.wait()


async def command_output(command: Sequence[str], *, core: int = CLIENT_CORE) -> dict[str, Any]:
    """Run a tool to its end; its output is a line of JSON."""
    started = await asyncio.create_subprocess_exec(
        "taskset", "-c", str(core), *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await started.communicate()
    if not out.strip():
        raise RuntimeError(f"{command[0]}: {err.decode(errors='replace')[-300:]}")
    answer: dict[str, Any] = json.loads(out.splitlines()[-1])
    return answer


def allow_sockets() -> None:
    """Raise the limit of open files, for servers too."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)


def subscribe(address: str, path: str, headers: Mapping[str, str], *, receive_buffer: int = 0) -> socket.socket:
    """Open a WebSocket by hand and return its socket."""
    host, _, port = address.rpartition(":")
    opened = socket.socket()
    if receive_buffer:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    opened.connect((host, int(port)))
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {address}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    opened.sendall("\r\n".join([*lines, "", ""]).encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += opened.recv(1)
    if not reply.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"refused: {reply.decode()}")
    return opened


def follow(address: str, path: str, token: str) -> socket.socket:
    """Open a stream of The Things Stack's API on the collection of an activity path, and return its socket."""
    collection = path.split("/")[3]
    body = json.dumps({"identifiers": [{"application_ids": {"application_id": collection}}]})
    fields = (f"Authorization: Bearer {token}", "Accept: text/event-stream", f"Content-Length: {len(body)}")
    opened = request(address, "POST /api/v3/events HTTP/1.1", fields, body)
    reply = b""
    while not reply.endswith(b"\n\n\r\n"):
        reply += opened.recv(1)
    return opened


def watch(address: str, path: str, token: str, accept: str, *more: str) -> socket.socket:
    """
    Open an activity stream as the body of a reply, and return its socket.

    Args:
        accept: ``text/event-stream``, or ``*/*`` for lines of JSON.
        more: Further header lines.
    """
    return request(address, f"GET {path} HTTP/1.1", (f"X-API-Token: {token}", f"Accept: {accept}", *more))


def request(address: str, line: str, fields: Sequence[str], body: str = "") -> socket.socket:
    """Send a request and read the head of its reply, octet by octet as the stream follows; return the socket."""
    host, _, port = address.rpartition(":")
    opened = socket.create_connection((host, int(port)))
    opened.sendall("\r\n".join([line, f"Host: {address}", *fields, "", body]).encode())
    reply = b""
    while not reply.endswith(b"\r\n\r\n"):
        octet = opened.recv(1)
        if not octet:
            break
        reply += octet
    if not reply.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"refused: {reply.decode()}")
    return opened


def drain(sockets: Sequence[socket.socket], seconds: float, *, pause: float = 0.0005) -> int:
    """
    Read and throw away; return how many octets came.

    Args:
        pause: Seconds between two sweeps. A client that sleeps in the kernel until data comes makes
            each send on loopback pay for waking it, which no network card does.
    """
    buffer = bytearray(1 << 20)
    total = 0
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ, each)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(pause)
            for key, _ in selector.select(0.05):
                with suppress(BlockingIOError):
                    total += key.data.recv_into(buffer)
    return total


class Table:
    """Figures of several rounds, shown as medians."""

    def __init__(self, title: str, unit: str) -> None:
        self._title = title
        self._unit = unit
        self._rows: dict[str, list[float]] = {}

    def add(self, row: str, value: float) -> None:
        """Take a figure."""
        self._rows.setdefault(row, []).append(value)

    def median(self, row: str) -> float:
        """Return the median of a row."""
        return statistics.median(self._rows[row])

    def show(self, *, base: str | None = None) -> None:
        """Print the table, with ratios to a row."""
        print(f"\n{self._title} ({self._unit})")
        for row, values in self._rows.items():
            ratio = f"   {self.median(row) / self.median(base):6.2f} x {base}" if base and base != row else ""
            spread = f"({min(values):,.0f} .. {max(values):,.0f})"
            print(f"  {row:<44} {self.median(row):>14,.0f} {spread:<26}{ratio}", flush=True)
