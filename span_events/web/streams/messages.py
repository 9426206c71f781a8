"""The JSON of upstream messages on a stream."""

from __future__ import annotations

from typing import Final

import orjson

from span_events.dialects import span
from span_events.events.activity import Activity
from span_events.events.message import Message
from span_events.registry.directory import Directory
from span_events.web import documents

_GAP: Final = b'{"type":"unknown",'
"""Begin of a gap: Span's clients know this word, and have no other for an object that is no message."""


class MessageDialect:
    """Writes an upstream message as Span's OutputDataMessage, with its device as it is now; and gaps of its stream."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def encode(self, item: Message | Activity) -> bytes:
        """Return one JSON object and a newline."""
        if isinstance(item, Activity):
            return _GAP + span.PLAIN.encode(item)[1:]
        device = self._directory.devices.get(item.origin.device_id or 0)
        return orjson.dumps(documents.output_data_message(item, device), option=orjson.OPT_APPEND_NEWLINE)
