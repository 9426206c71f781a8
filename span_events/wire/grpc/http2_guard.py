"""
Checks the headers of HTTP/2 frames before h2 parses the frames (RFC 9113 §4).

h2 checks a frame's length only when the whole frame has arrived, so that nine octets make h2 buffer up to
16 MiB. h2 also joins up to 64 header frames before parsing them, and reports any frame after a GOAWAY as
an error, which would hide the orderly end.
"""

from __future__ import annotations

import sys
from typing import Final

MAX_FRAME: Final = 16_384
"""Largest content of a frame, octets: the default of SETTINGS_MAX_FRAME_SIZE."""
MAX_HEADERS: Final = 32_768
"""Largest compressed headers of one request, octets."""

_PREFACE: Final = 24
"""Length of the client's connection preface, octets (RFC 9113 §3.4)."""
_HEADER: Final = 9
_DATA: Final = 0
_HEADERS: Final = 1
_GOAWAY: Final = 7
_CONTINUATION: Final = 9
_COSTS_MORE: Final = 1024
"""Octets of a frame, other than DATA, that take h2 about as long as one more frame."""


class FrameGuard:
    """Follows the frames of one client."""

    def __init__(self) -> None:
        self._skip = _PREFACE
        """Number of octets until the next frame begins."""
        self._begun = b""
        """Beginning of an incomplete frame header."""
        self._headers = 0
        """Octets of the request headers received so far."""
        self._is_last = False
        """True while the present frame is a GOAWAY."""
        self.cost = 0
        """Frames so far; a long one without data counts as several."""

    def look(self, octets: bytes, frames: int = sys.maxsize) -> tuple[int, str | None]:
        """
        Return the number of octets to pass to h2, and the flaw of the frame after them, or None.

        Args:
            frames: Largest number of frames to begin, at least one; the octets after them are not looked at.
        """
        if self._is_last:
            count = min(self._skip, len(octets))
            self._skip -= count
            return count, None
        before = len(self._begun)
        if before:
            octets = self._begun + octets
            self._begun = b""
        at, end = self._skip, len(octets)
        while at + _HEADER <= end:
            if not frames:
                self._skip = 0
                return at - before, None
            frames -= 1
            length = octets[at] << 16 | octets[at + 1] << 8 | octets[at + 2]
            if length > MAX_FRAME:
                return max(0, at - before), f"a frame of {length} octets; the limit is {MAX_FRAME}"
            kind = octets[at + 3]
            if kind in (_HEADERS, _CONTINUATION):
                self._headers = length + (self._headers if kind == _CONTINUATION else 0)
                if self._headers > MAX_HEADERS:
                    return max(0, at - before), f"headers of {self._headers} octets; the limit is {MAX_HEADERS}"
            self.cost += 1 if kind == _DATA else 1 + length // _COSTS_MORE
            at += _HEADER + length
            if kind == _GOAWAY:
                self._is_last = True
                end = min(at, end)
                break
        if at < end:
            self._begun = octets[at:]
            self._skip = 0
        else:
            self._skip = at - end
        return end - before, None
