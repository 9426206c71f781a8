"""
Forms of files (multipart/form-data, RFC 7578): takes the file out of its envelope while it arrives.

The file is the first part with a file name; small fields before it and after it are left out. A form without a file at
its begin stays as it came, since its octets cannot be called back.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import Final

from span_events.errors import MalformedMessage

MAX_BEFORE: Final = 8_192
"""Octets before the file at most: fields, and the head of its part."""
_BOUNDARY: Final = re.compile(
    r'multipart/form-data\s*;(?:.*;)?\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70})(?![^\s;]))', re.I
)
"""RFC 2046 §5.1.1: at most 70 characters."""
_FILE: Final = re.compile(rb"^content-disposition:[^\n]*;\s*filename\*?=", re.IGNORECASE | re.MULTILINE)
_TYPE: Final = re.compile(rb"^content-type:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)
_LF: Final = 0x0A
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")


class _Part(Enum):
    BEFORE = auto()
    FILE = auto()
    AFTER = auto()
    AS_IT_CAME = auto()


class FormReader:
    """Returns the octets of the file in a form."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._part = _Part.BEFORE
        self._held = b""
        self.content_type = ""
        """Media type of the file, as its part declares it."""

    @property
    def note(self) -> str:
        """Words for people about the outcome; valid at the end."""
        match self._part:
            case _Part.AFTER:
                return "unpacked from multipart/form-data"
            case _Part.FILE:
                return "unpacked from multipart/form-data, whose boundary after the file is missing"
            case _:
                return "multipart/form-data without a file at its begin: the blob holds the boundaries"

    def feed(self, octets: bytes) -> bytes:
        """
        Return the octets of the file in the next octets.

        Raises:
            MalformedMessage: A second file follows.
        """
        match self._part:
            case _Part.BEFORE:
                return self._seek(self._held + octets)
            case _Part.FILE:
                return self._read(self._held + octets)
            case _Part.AFTER:
                self._look(self._held + octets)
                return b""
            case _Part.AS_IT_CAME:
                return octets

    def end(self) -> bytes:
        """
        Return the rest at the end of the content.

        A file without a boundary after it lasts to the end; without a file, the form stays as it came.
        """
        return b"" if self._part is _Part.AFTER else self._held

    def _seek(self, octets: bytes) -> bytes:
        """Look for the head of a part with a file name."""
        at = octets.find(self._delimiter)
        while at >= 0:
            head = at + len(self._delimiter)
            end = _HEAD_END.search(octets, head)
            if end is None:
                break
            fields = octets[head : end.end()]
            if _FILE.search(fields):
                declared = _TYPE.search(fields)
                self.content_type = declared[1].decode("latin-1") if declared else ""
                self._part = _Part.FILE
                return self._read(octets[end.end() :], is_begin=True)
            at = octets.find(self._delimiter, end.end())
        begin = octets.lstrip(b"\r\n")[: len(self._delimiter)]
        if not self._delimiter.startswith(begin) or len(octets) > MAX_BEFORE:
            self._part, self._held = _Part.AS_IT_CAME, b""
            return octets
        self._held = octets
        return b""

    def _read(self, octets: bytes, *, is_begin: bool = False) -> bytes:
        """Return octets up to the boundary; the last ones are held, as they may be its begin."""
        at = octets.find(self._delimiter)
        while at >= 0 and not (octets[at - 1] == _LF if at else is_begin):  # a delimiter begins a line
            at = octets.find(self._delimiter, at + 1)
        if at >= 0:
            self._part, self._held = _Part.AFTER, b""
            self._look(octets[at:])
            return octets[:at].removesuffix(b"\n").removesuffix(b"\r")
        keep = len(self._delimiter) + 2
        self._held = octets[-keep:]
        return octets[:-keep]

    def _look(self, octets: bytes) -> None:
        if _FILE.search(octets):
            raise MalformedMessage("the form has more than one file, wanted one for each request", at=0)
        self._held = octets[-MAX_BEFORE:]


def boundary_of(content_type: str) -> bytes | None:
    """Return the boundary of a form's content type; None for any other type."""
    found = _BOUNDARY.match(content_type.strip())
    return None if found is None else (found[1] or found[2]).encode("latin-1")
