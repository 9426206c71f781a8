"""
The program in processes that are forked from one that has loaded it: a server starts in a tenth of the time.

The command line, the environment, signals, pipes and exit statuses are those of a program that was started.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Final, TextIO

_LOADED: Final = ("span_events.cli.commands", "span_events.cli.running")
"""Modules of the process that is forked: those of a server."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([__name__, *_LOADED])


class ForkedProgram:
    """
    A running ``span-events``, with the operations of `subprocess.Popen` that tests need.

    Args:
        arguments: Those of the command line, without the program's name.
        environment: All variables.
        descriptors: Upper bound of its file descriptors (RLIMIT_NOFILE).
    """

    def __init__(
        self, arguments: Sequence[str], environment: Mapping[str, str], *, descriptors: int | None = None
    ) -> None:
        self.stdout, output = _pipe()
        self.stderr, complaints = _pipe()
        self._process = _context.Process(
            target=_run, args=(tuple(arguments), dict(environment), descriptors, output, complaints), daemon=True
        )
        self._process.start()
        output.close()
        complaints.close()

    @property
    def pid(self) -> int:
        """Its process identifier."""
        assert self._process.pid is not None
        return self._process.pid

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for its end; return its exit status, or the negative number of the signal that ended it."""
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        self._process.close()
        return status


def _pipe() -> tuple[TextIO, Connection]:
    """Return the end to read, and the one to give away."""
    reading, writing = _context.Pipe(duplex=False)
    with reading:
        return os.fdopen(os.dup(reading.fileno()), encoding="utf-8"), writing


def _run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    descriptors: int | None,
    output: Connection,
    complaints: Connection,
) -> None:
    """Be the program, in the forked process."""
    for number, end in ((1, output), (2, complaints)):
        os.dup2(end.fileno(), number)
        end.close()
    if descriptors is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["span-events", *arguments]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    from span_events.cli.main import main  # noqa: PLC0415

    main()
