"""
The program in processes that are forked from one that has loaded it: a server starts in a tenth of the time.

The command line, the environment, signals, standard streams and exit statuses are those of a program that was started.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Final, TextIO

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, "tests.bench.loaded"])

_STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""Names in `sys`, and modes, by number of the descriptor."""


class ForkedProcess:
    """
    A running ``span-events``.

    Args:
        arguments: Those of the command line, without the program's name.
        environment: All variables.
        streams: Descriptors for its standard input, output and error; they stay the caller's.
        descriptors: Soft and hard limit of its file descriptors (RLIMIT_NOFILE).
        folder: Its working directory; None is ours.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        streams: Sequence[int],
        *,
        descriptors: tuple[int, int] | None = None,
        folder: str | None = None,
    ) -> None:
        self._status: int | None = None
        with ExitStack() as stack:
            ends = tuple(stack.enter_context(Connection(os.dup(each))) for each in streams)
            self._process = _context.Process(
                target=_run, args=(tuple(arguments), dict(environment), descriptors, folder, ends), daemon=True
            )
            self._process.start()
        assert self._process.pid is not None
        self.pid: Final = self._process.pid
        """Its process identifier."""

    @property
    def returncode(self) -> int | None:
        """Its exit status, the negative number of the signal that ended it, or None while it runs."""
        return self._process.exitcode if self._status is None else self._status

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def join(self) -> int:
        """Wait for its end; return its exit status, or the negative number of the signal that ended it."""
        if self._status is None:
            self._process.join()
            self._status = self._process.exitcode
            self._process.close()
        assert self._status is not None
        return self._status

    async def wait(self) -> int:
        """Do as `join`, while the event loop goes on."""
        if self.returncode is None:
            loop, ended = asyncio.get_running_loop(), asyncio.Event()
            loop.add_reader(self._process.sentinel, ended.set)
            try:
                await ended.wait()
            finally:
                loop.remove_reader(self._process.sentinel)
        return self.join()


class ForkedProgram(ForkedProcess):
    """A process with pipes for its output and its complaints, and nothing on its standard input."""

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, descriptors: tuple[int, int] | None = None
    ) -> None:
        (out, output), (err, complaints), nothing = os.pipe(), os.pipe(), os.open(os.devnull, os.O_RDONLY)
        super().__init__(arguments, environment, (nothing, output, complaints), descriptors=descriptors)
        for each in (nothing, output, complaints):
            os.close(each)
        self.stdout: TextIO = os.fdopen(out, encoding="utf-8")
        self.stderr: TextIO = os.fdopen(err, encoding="utf-8")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    descriptors: tuple[int, int] | None,
    folder: str | None,
    ends: Sequence[Connection],
) -> None:
    """Be the program, in the forked process."""
    for number, (end, (name, mode)) in enumerate(zip(ends, _STREAMS, strict=True)):
        os.dup2(end.fileno(), number)
        end.close()
        buffering = 1 if number == 2 or os.isatty(number) else -1
        setattr(sys, name, open(number, mode, buffering, encoding="utf-8", closefd=False))  # noqa: SIM115
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, descriptors)
    if folder is not None:
        os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = ["span-events", *arguments]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    from span_events.cli.main import main  # noqa: PLC0415

    main()
