"""
Imports of much: without the garbage collector, and under Ctrl-C.

An interrupt while modules load ends the process at once, without a traceback. What modules make stays alive, so that
collections meanwhile would cost a sixth of the time and free nothing.
"""

from __future__ import annotations

import gc
import os
import signal
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


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


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
