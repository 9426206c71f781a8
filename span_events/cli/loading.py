"""Ctrl-C while modules load ends the process at once: a half-done import has only a traceback to tell."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT."""


class Loading:
    """Encloses imports. Does nothing outside the main thread, or where somebody else handles SIGINT."""

    def __enter__(self) -> None:
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
        if self._changed:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
