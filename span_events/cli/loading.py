"""
The beginning of the program: standard streams, signals, and imports of much, without the garbage collector.

An interrupt while modules load ends the process at once, without a traceback. What modules make stays alive, so that
collections meanwhile would cost a sixth of the time and free nothing.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


def open_closed_streams() -> None:
    """Open standard output and standard error that a supervisor closed; what is written to them is lost."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends


def forget_output() -> None:
    """Discard the buffered output, which would fail again when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Loading:
    """Context of imports. It leaves SIGINT alone outside the main thread, or if it has a handler already."""

    def __enter__(self) -> None:
        self._collects = gc.isenabled()
        gc.disable()
        # Raised as an exception, it would be lost in whatever the import machinery is doing, or be printed by it.
        self._changed = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        try:
            if self._changed:
                signal.signal(signal.SIGINT, _leave)
        except ValueError:  # not the main thread
            self._changed = False

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._collects:
            gc.enable()
        if self._changed:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def leave_in_order(number: int, frame: FrameType | None) -> None:
    """End a server whose modules are still loading: nothing has begun."""
    os._exit(0)


def leave_or_go_on(number: int, frame: FrameType | None) -> None:
    """End a server whose terminal was closed while it loads; a reload is too early then, and ignored."""
    if has_terminal():
        leave_in_order(number, frame)


def has_terminal() -> bool:
    """Return whether a person started this process on a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
