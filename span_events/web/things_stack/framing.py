"""
Framing of The Things Stack's HTTP API: which form a client gets, and its octets.

The form ``text/event-stream`` is not what its name says: a frame is one JSON object and two newlines, without
``data:``. The original's clients split at the newlines, so that a comment or a blank line would break them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from span_events.dialects.things_stack.errors import ErrorDetails
from span_events.dialects.things_stack.json import JsonDialect
from span_events.fanout.subscriber import Encoding, Framing, encoding


@dataclass(frozen=True, slots=True)
class Form:
    """
    One of the two forms.

    Args:
        delimiter: Octets after each object of a stream.
    """

    content_type: str
    delimiter: bytes

    def result(self, line: bytes) -> bytes:
        """Frame an event."""
        return b'{"result":%b}%b' % (line, self.delimiter)

    def error(self, details: ErrorDetails) -> bytes:
        """Frame the error that ends a stream, or that is sent instead of one."""
        return b'{"error":%b}%b' % (orjson.dumps(details.as_status()), self.delimiter)

    def encoding(self, dialect: JsonDialect, *, chunked: bool) -> Encoding:
        """Return the encoding of a stream's events."""
        return encoding(dialect, _FRAMES[self.content_type, chunked], tells_gaps=True)


def _chunked(delimiter: bytes) -> Framing:
    """Return a function that frames an event as a chunk: the original's clients get each event alone (RFC 9112 7.1)."""
    tail = b"}" + delimiter + b"\r\n"
    besides = len(b'{"result":}' + delimiter)

    def frame(line: bytes) -> bytes:
        return _chunk_head(len(line) + besides) + line + tail

    return frame


@lru_cache(maxsize=4096)
def _chunk_head(size: int) -> bytes:
    return b'%x\r\n{"result":' % size


EVENT_STREAM: Final = Form("text/event-stream", b"\n\n")
JSON: Final = Form("application/json", b"\n")
_FRAMES: Final[Mapping[tuple[str, bool], Framing]] = {
    (form.content_type, chunked): _chunked(form.delimiter) if chunked else form.result
    for form in (EVENT_STREAM, JSON)
    for chunked in (True, False)
}
"""Bound once each, as groups of the hub compare encodings by identity."""


def form_of(accepts: Iterable[str]) -> Form:
    """Return the form for the headers Accept, each of which the original compares as a whole."""
    return EVENT_STREAM if EVENT_STREAM.content_type in accepts else JSON


def bare(status: Mapping[str, Any]) -> bytes:
    """Write a status that is not wrapped, with the blanks of the original."""
    parts = (b"%b:%b" % (orjson.dumps(key), orjson.dumps(value)) for key, value in status.items())
    return b"{%b}" % b", ".join(parts)
