"""
A look at HTTP/2's frames before h2 takes them in (RFC 9113 §4).

h2 checks a frame's length when the whole frame is there: nine octets make it wait for, and hold, up
to 16 MiB. It joins up to 64 frames of headers before it looks at them. And it calls whatever follows a
GOAWAY an error, whose cause nobody could tell from an orderly goodbye then.
"""

from __future__ import annotations

from typing import Final

MAX_FRAME: Final = 16_384
"""Octets of a frame's content at most: the default of SETTINGS_MAX_FRAME_SIZE."""
MAX_HEADERS: Final = 32_768
"""Octets of one request's headers at most, compressed."""

_PREFACE: Final = 24
"""Octets that a client sends before its first frame (RFC 9113 §3.4)."""
_HEADER: Final = 9
_HEADERS: Final = 1
_GOAWAY: Final = 7
_CONTINUATION: Final = 9


class FrameGuard:
    """Follows what one client sends, frame by frame."""

    def __init__(self) -> None:
        self._skip = _PREFACE
        """Octets until the next frame begins."""
        self._begun = b""
        """Of a frame's header whose end is not here yet."""
        self._headers = 0
        """Octets of the headers that are coming in."""
        self._is_last = False
        """Whether the frame that is coming in is a GOAWAY."""

    def look(self, octets: bytes) -> tuple[int, str | None]:
        """Return how many octets h2 should get, and what is wrong with the frame that follows, if anything is."""
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
            length = octets[at] << 16 | octets[at + 1] << 8 | octets[at + 2]
            if length > MAX_FRAME:
                return max(0, at - before), f"a frame of {length} octets; the limit is {MAX_FRAME}"
            kind = octets[at + 3]
            if kind in (_HEADERS, _CONTINUATION):
                self._headers = length + (self._headers if kind == _CONTINUATION else 0)
                if self._headers > MAX_HEADERS:
                    return max(0, at - before), f"headers of {self._headers} octets; the limit is {MAX_HEADERS}"
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
