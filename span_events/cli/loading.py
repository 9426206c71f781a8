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
from collections.abc import Callable
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""
_STDOUT, _STDERR = 1, 2


def open_closed_streams() -> None:
    """Open standard streams that a supervisor closed: the next file would get the number of one, and its output."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(opened, True)  # child processes need them, too
    os.close(opened)
    for number, name in ((_STDOUT, "stdout"), (_STDERR, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w"))  # noqa: SIM115  # until the process ends


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


def at_hang_up() -> Callable[[int, FrameType | None], None]:
    """
    Return the handler of SIGHUP for a server that loads: it leaves if its terminal is closed, and ignores a reload.

    When the signal of a closed terminal comes, the process has none any more, so this must be called before.
    """
    return leave_in_order if has_terminal() else _go_on


def has_terminal() -> bool:
    """Return whether a person started this process on a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _go_on(number: int, frame: FrameType | None) -> None:
    """Ignore a signal; unlike SIG_IGN, this is no wish of the parent process that would stay."""


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
