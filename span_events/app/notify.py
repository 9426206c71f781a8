"""
Reports to a service manager: ready, reloading, stopping, and the watchdog (sd_notify(3) of systemd).

The manager names a datagram socket in ``NOTIFY_SOCKET``; without that variable nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Final

from span_events.log import get_logger

log = get_logger("notify")

_PER_INTERVAL: Final = 3
"""Watchdog reports in the time after which the manager kills the process: one that is late or lost does no harm."""


class Manager:
    """
    The service manager that started this process, if there is one.

    Args:
        environment: Variables; ``NOTIFY_SOCKET`` begins with ``@`` for a socket in the abstract namespace.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._socket: socket.socket | None = None
        if path.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)
        self._pause = _pause_of(environment) if self._socket is not None else 0.0

    def ready(self, status: str = "") -> None:
        """Report that all sockets are bound, or that a reload is over."""
        self._send("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """Report that settings are read again; `ready` follows."""
        moment = int(asyncio.get_running_loop().time() * 1_000_000)  # systemd wants CLOCK_MONOTONIC, as the loop has
        self._send("RELOADING=1", f"MONOTONIC_USEC={moment}")

    def stopping(self) -> None:
        """Report the begin of the shutdown."""
        self._send("STOPPING=1", "STATUS=stopping")

    async def keep_alive(self, is_well: Callable[[], bool] = lambda: True) -> None:
        """
        Report until cancelled that the event loop runs; returns at once if the manager wants no such reports.

        Args:
            is_well: While it returns False, no report is sent, and the manager kills the process before long.
        """
        while self._pause:
            if is_well():
                self._send("WATCHDOG=1")
            await asyncio.sleep(self._pause)

    def close(self) -> None:
        """Release the socket; idempotent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError as exc:  # a manager that does not read must not stop the service
            log.warning("notify_failed", state=lines[0], error=exc.strerror)


def _pause_of(environment: Mapping[str, str]) -> float:
    """Return the seconds between reports of the watchdog; 0 if it is off, or meant for another process."""
    interval, process = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not interval.isdecimal() or process not in ("", str(os.getpid())):
        return 0.0
    return int(interval) / 1_000_000 / _PER_INTERVAL
