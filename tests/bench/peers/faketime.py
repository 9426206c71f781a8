"""A machine's clock for a program, by Debian's faketime: wrong from the start, or set while the program runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

_LIBRARIES: Final = Path("/usr/lib")


class FakeClock:
    """
    The wall clock of a program; its monotonic clock stays the machine's.

    Args:
        folder: Where the file that sets the clock is kept.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        self._file = folder / "clock"
        self.set(now)

    def set(self, now: datetime) -> None:
        """Set the clock, also that of a program that runs, which sees it within a second; it goes on from there."""
        offset = int((now - datetime.now(now.tzinfo)).total_seconds())
        self._file.write_text(f"{offset:+d}\n")

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of the program."""
        (library,) = _LIBRARIES.glob("*/faketime/libfaketime.so.1")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds; without, each look at the clock reads the file
            "DONT_FAKE_MONOTONIC": "1",
        }
