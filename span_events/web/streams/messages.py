"""The JSON of upstream messages on a stream."""

from __future__ import annotations

import orjson

from span_events.events.message import Message
from span_events.registry.directory import Directory
from span_events.web import documents


class MessageDialect:
    """Writes an upstream message as Span's OutputDataMessage, with its device as it is now."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def encode(self, message: Message) -> bytes:
        """Return one JSON object and a newline."""
        device = self._directory.devices.get(message.origin.device_id or 0)
        return orjson.dumps(documents.output_data_message(message, device), option=orjson.OPT_APPEND_NEWLINE)
