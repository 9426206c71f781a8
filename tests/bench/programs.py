"""Programs in processes of their own: their output line by line, their status, and the package that installs them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import pytest

from tests.bench.forked import ForkedProcess
from tests.bench.waiting import PATIENCE

PROGRAM: Final = str(Path(sys.executable).with_name("span-events"))
"""The command line, as it is installed."""
LONGEST_LINE: Final = 1 << 20
"""Octets."""
_SETUP: Final = Path(__file__).parents[2] / "scripts" / "test"
PACKAGES: Final[dict[str, str]] = dict(re.findall(r"^need (\S+) (.+)$", _SETUP.read_text(), re.MULTILINE))
"""Debian packages by program, as scripts/test installs them."""


def find_program(name: str) -> str:
    """Return the path of a program; without it, fail the test at once and name the package."""
    path = shutil.which(name)
    if path is None:
        known = PACKAGES.get(name)
        pytest.fail(
            f"{name} is missing: " + (f"install the Debian package {known}" if known else "run scripts/test"),
            pytrace=False,
        )
    return path


@dataclass(frozen=True, slots=True)
class Finished:
    """The exit status and the output of a program."""

    status: int
    output: str
    complaints: str
    """Standard error."""

    @property
    def printed(self) -> str:
        """Standard output, then standard error."""
        return self.output + self.complaints


class Program:
    """
    A program that runs inside a ``with`` block; at its end it is killed if it still runs.

    `PROGRAM` is forked from a process that has loaded it. A test of the start itself runs ``python -m span_events``,
    and one with variables for the dynamic linker ``env span-events``.

    Args:
        command: The program and its arguments.
        environment: Variables besides ours.
        descriptors: Soft and hard limit of file descriptors of `PROGRAM`.
        terminal: Whether its standard output is a terminal.
    """

    def __init__(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        descriptors: tuple[int, int] | None = None,
        terminal: bool = False,
    ) -> None:
        self._command = command
        self._descriptors = descriptors
        self._environment = {**os.environ, "TZ": "UTC", "TERM": "xterm-256color", **(environment or {})}
        self._on_terminal = terminal
        self._transports: list[asyncio.BaseTransport] = []

    async def __aenter__(self) -> Self:
        (typed, keyboard), (err, complaints) = os.pipe(), os.pipe()
        out, output = os.openpty() if self._on_terminal else os.pipe()
        self._process = await self._start((typed, output, complaints))
        for each in (typed, output, complaints):
            os.close(each)  # the program has it
        self._input = await self._open_to_write(keyboard)
        self._output, self._complaints = await self._open_to_read(out), await self._open_to_read(err)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.running:
            self.send_signal(signal.SIGKILL)
        await self.finish()

    @property
    def running(self) -> bool:
        """Whether the program still runs."""
        return self._process.returncode is None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def line(self) -> str:
        """Wait for a line of its output, and return it without its end; empty lines pass by."""
        while not (line := await self._line(self._output)):
            pass
        return line

    async def complaint(self) -> str:
        """Wait for a line of its standard error."""
        return await self._line(self._complaints)

    def say(self, text: str) -> None:
        """Write to its standard input, which stays open."""
        self._input.write(text.encode())

    def say_no_more(self) -> None:
        """Close its standard input."""
        self._input.close()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    async def finish(self) -> Finished:
        """Wait for the program's own end; return the unread output."""
        async with asyncio.timeout(PATIENCE):
            output, complaints, status = await asyncio.gather(
                self._output.read(), self._complaints.read(), self._process.wait()
            )
        for each in self._transports:
            each.close()
        return Finished(status, *(each.decode(errors="replace") for each in (output, complaints)))

    async def _start(self, streams: tuple[int, int, int]) -> asyncio.subprocess.Process | ForkedProcess:
        name, *arguments = self._command
        if name == PROGRAM:
            preload = self._environment.get("LD_PRELOAD")
            assert preload == os.environ.get("LD_PRELOAD"), "a forked process is linked already: run env"
            return ForkedProcess(arguments, self._environment, streams, descriptors=self._descriptors)
        typed, output, complaints = streams
        return await asyncio.create_subprocess_exec(
            *(find_program(name), *arguments), env=self._environment, stdin=typed, stdout=output, stderr=complaints
        )

    async def _line(self, stream: asyncio.StreamReader) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                line = await stream.readline()
        except TimeoutError:
            raise AssertionError(f"{self._command[0]} printed nothing more") from None
        if not line:
            rest = await self.finish()
            raise AssertionError(f"{self._command[0]} ended with status {rest.status}: {rest.complaints}")
        return line.decode().rstrip("\r\n")

    async def _open_to_read(self, descriptor: int) -> asyncio.StreamReader:
        reader = asyncio.StreamReader(limit=LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: _OutputProtocol(reader), os.fdopen(descriptor, "rb", 0)
        )
        self._transports.append(transport)
        return reader

    async def _open_to_write(self, descriptor: int) -> asyncio.WriteTransport:
        transport, _ = await asyncio.get_running_loop().connect_write_pipe(
            asyncio.BaseProtocol, os.fdopen(descriptor, "wb", 0)
        )
        self._transports.append(transport)
        return transport


class _OutputProtocol(asyncio.StreamReaderProtocol):
    """Treats EIO, which a terminal gives after the end of its program, as the end of the output."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the reader."""
        super().connection_lost(None)


async def run(*command: str, environment: Mapping[str, str] | None = None, typed: str | None = None) -> Finished:
    """
    Run a program to its end.

    Args:
        typed: What is on its standard input; None leaves that open, with nothing on it.
    """
    async with Program(*command, environment=environment) as program:
        if typed is not None:
            program.say(typed)
            program.say_no_more()
        return await program.finish()


async def output_of(*command: str) -> str:
    """Run a program that must succeed; return its output."""
    ended = await run(*command)
    assert ended.status == 0, ended.printed
    return ended.printed
