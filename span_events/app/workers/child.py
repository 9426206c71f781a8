"""
A child process that must not end: it is started again when it does, or when it stops reporting.

The child reports over sd_notify(3), as it would to systemd (`span_events.app.notify`).
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from span_events.errors import SpanEventsError
from span_events.log import get_logger

log = get_logger("workers")

_PAUSE: Final = 0.1
"""Seconds until a child that ended is started again, twice as many after each short life …"""
_LONGEST_PAUSE: Final = 10.0
"""… up to these."""
_STEADY: Final = 60.0
"""Seconds of life after which an end is no longer one of a series; and seconds that a restart may take."""
_SILENCE: Final = 30.0
"""Seconds without a report after which a child is killed: its event loop is blocked."""
START_LIMIT: Final = 300.0
"""Seconds until a child must be ready; the longest step of a start is a migration of the registry."""
_REPORT: Final = 4096
"""Octets of a report, at most."""


class ChildFailed(SpanEventsError):
    """A child ended before it was ready for the first time."""

    code = "child_failed"
    hint = "Its own lines, above, say why."

    def __init__(self, name: str, status: int) -> None:
        super().__init__(f"{name}: ended with status {status} before it was ready")
        self.exit_status = status if status > 0 else 1  # type: ignore[misc]  # that of the child, for supervisors


class Child:
    """
    One process, and its successors.

    Args:
        command: Program and arguments.
        environment: All variables, without those of sd_notify.
        folder: Where the socket for its reports is made.
        silence: Seconds without a report after which it is killed, once it was ready.
        start_limit: Seconds after its start until it must be ready, or it is killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        folder: Path,
        silence: float = _SILENCE,
        start_limit: float = START_LIMIT,
    ) -> None:
        self.name = name
        self.ready = asyncio.Event()
        """Set while the process serves."""
        self.reloads = 0
        """Number of reloads that the processes have finished."""
        self.starts = 0
        self._command = tuple(command)
        self._silence = silence
        self._start_limit = start_limit
        self._reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reports.setblocking(False)
        self._reports.bind(str(folder / f"{name}.notify"))
        self._environment = {
            **environment,
            "NOTIFY_SOCKET": str(folder / f"{name}.notify"),
            "WATCHDOG_USEC": str(int(silence * 1_000_000)),
        }
        self._environment.pop("WATCHDOG_PID", None)
        self._process: asyncio.subprocess.Process | None = None
        self._heard = 0.0  # time of the start, then of the last report
        self._changed = asyncio.Event()
        self._unready_since = asyncio.get_running_loop().time()
        self._is_reloading = False

    @property
    def pid(self) -> int | None:
        """Identifier of the process; None while there is none."""
        return self._process.pid if self._process is not None else None

    @property
    def is_well(self) -> bool:
        """Whether the process serves, or did a minute ago."""
        return self.ready.is_set() or asyncio.get_running_loop().time() - self._unready_since < _STEADY

    async def run(self) -> None:
        """
        Keep a process running; cancelling stops it, and returns when it has ended.

        Raises:
            ChildFailed: The first process ended before it was ready.
        """
        loop = asyncio.get_running_loop()
        loop.add_reader(self._reports, self._receive)
        pause = _PAUSE
        was_ready = False
        try:
            while True:
                began = loop.time()
                status = await self._live()
                self._receive()  # reports that came before the end
                was_ready = was_ready or self.ready.is_set()
                self._lost()
                if not was_ready:
                    raise ChildFailed(self.name, status)
                pause = _PAUSE if loop.time() - began > _STEADY else pause
                log.error("process_ended", process=self.name, status=status, seconds_until_restart=pause)
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
        finally:
            loop.remove_reader(self._reports)
            self._reports.close()

    def hang_up(self) -> None:
        """Send SIGHUP to a process that is ready: it reads its settings again."""
        if self._process is not None and self.ready.is_set():
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGHUP)

    async def reloaded(self, before: int) -> None:
        """Wait until the process has ended, or `reloads` is no longer ``before``."""
        while self.reloads == before and self.ready.is_set():
            self._changed.clear()
            await self._changed.wait()

    def kill(self) -> None:
        """Kill the process (SIGKILL), if there is one."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _live(self) -> int:
        """Start a process and return its exit status; cancelling ends it gracefully."""
        process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # signals of the terminal are for the parent, which passes them on
        )
        self._process = process
        self._heard = asyncio.get_running_loop().time()
        self.starts += 1
        log.info("process_started", process=self.name, pid=process.pid)
        ending = asyncio.ensure_future(process.wait())
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=min(self._patience(), self._silence / 3))  # READY shortens it
                if not ending.done() and self._patience() == 0:
                    log.error("process_silent", process=self.name, pid=process.pid, seconds=self._limit)
                    process.kill()
                    await ending
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            await ending
            raise
        finally:
            self._process = None
        return ending.result()

    def _patience(self) -> float:
        """Return the seconds until the process has been silent for too long."""
        return max(0.0, self._heard + self._limit - asyncio.get_running_loop().time())

    @property
    def _limit(self) -> float:
        return self._silence if self.ready.is_set() else self._start_limit

    def _receive(self) -> None:
        with suppress(BlockingIOError):
            while True:
                lines = self._reports.recv(_REPORT).decode(errors="replace").splitlines()
                self._heard = asyncio.get_running_loop().time()
                if "RELOADING=1" in lines:
                    self._is_reloading = True
                if "READY=1" in lines:
                    self.reloads += self._is_reloading
                    self._is_reloading = False
                    self.ready.set()
                    self._changed.set()

    def _lost(self) -> None:
        self.ready.clear()
        self._changed.set()
        self._is_reloading = False
        self._unready_since = asyncio.get_running_loop().time()
