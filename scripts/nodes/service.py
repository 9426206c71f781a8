"""One program of the cluster: started, watched, started again when it dies, and stopped."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_PATIENCE: Final = 120.0
"""Seconds that a program may take until it is ready, on a slow machine."""
_AGAIN: Final = 1.0
"""Seconds until a program that died is started again."""
_GOODBYE: Final = 20.0
"""Seconds that a program has to end after SIGTERM."""


class DidNotStart(Exception):
    """A program ended before it was ready; the text has the end of its log."""


@dataclass(slots=True)
class Service:
    """
    One program.

    Args:
        folder: For its log (``NAME.log``) and the number of its process (``NAME.pid``).
        is_ready: Whether it serves; asked until it does.
        user: Name of the user who runs it; None for the present one.
    """

    name: str
    command: Sequence[str]
    folder: Path
    is_ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    starts: int = 0
    _process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> Path:
        """File of its output."""
        return self.folder / f"{self.name}.log"

    async def start(self) -> None:
        """
        Start the program, and return when it serves.

        Raises:
            DidNotStart: It ended before.
        """
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.command,
                env={**os.environ, **self.environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                user=self.user,
                start_new_session=True,  # Ctrl-C is for the cluster, which stops its programs in order
            )
        self.starts += 1
        (self.folder / f"{self.name}.pid").write_text(f"{self._process.pid}\n")
        try:
            async with asyncio.timeout(_PATIENCE):
                is_ready = False
                while not is_ready:
                    await asyncio.sleep(0.02)
                    is_ready = await asyncio.to_thread(self.is_ready)  # though another process may be the one
                    if self._process.returncode is not None:
                        raise DidNotStart(f"{self.name} ended with status {self._process.returncode}:\n{self._end()}")
        except TimeoutError:
            raise DidNotStart(f"{self.name} is not ready after {_PATIENCE:g} s:\n{self._end()}") from None

    async def watch(self, tell: Callable[[str], None]) -> None:
        """Start the program again whenever it ends."""
        while True:
            assert self._process is not None, "it was started"
            status = await self._process.wait()
            _kill_group(self._process)
            tell(f"{self.name} ended ({_cause(status)}); it starts again in {_AGAIN:g} s")
            await asyncio.sleep(_AGAIN)
            try:
                await self.start()
            except DidNotStart as exc:
                tell(str(exc))
            else:
                tell(f"{self.name} is back as process {self._process.pid}")

    async def stop(self) -> None:
        """Ask the program to end, and kill it if it does not."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE):
                    await process.wait()
        _kill_group(process)
        await process.wait()

    def _end(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def accepts(port: int, host: str = "127.0.0.1") -> Callable[[], bool]:
    """Return a check: does a TCP port accept connections?"""

    def check() -> bool:
        with suppress(OSError), socket.create_connection((host, port), timeout=1):
            return True
        return False

    return check


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """Kill a program and the processes that it left: nginx's workers outlive their master, and keep its ports."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _cause(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"status {status}"
