"""IFTTT: a request of its Webhooks service per message or event."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

import orjson

from span_events.dialects.span import render_id
from span_events.events.message import Message
from span_events.outputs.base import Item
from span_events.outputs.content import Content
from span_events.outputs.targets import Targets
from span_events.outputs.webhook import Http
from span_events.registry.outputs import OutputConfig

URL: Final = "https://maker.ifttt.com/trigger"


class Ifttt:
    """
    Triggers an event of IFTTT, with three values.

    ``value1`` is the payload of a message, in base64 or, with ``asIsPayload``, as text, or the JSON of an event;
    ``value2`` is the device; ``value3`` the time, Unix milliseconds.
    """

    batch = 1

    def __init__(self, config: OutputConfig, content: Content, targets: Targets) -> None:
        self.target = f"{URL}/{quote(config.event_name, safe='')}"
        self._url = f"{self.target}/with/key/{quote(config.key, safe='')}"
        self._is_text = config.as_is_payload
        self._content = content
        self._http = Http(targets, self.target)

    async def send(self, items: Sequence[Item]) -> int:
        """Trigger the event."""
        (item,) = items
        body = orjson.dumps(dict(zip(("value1", "value2", "value3"), self._values(item), strict=True)))
        await self._http.post(self._url, body, {"Content-Type": "application/json"})
        return len(body)

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    def _values(self, item: Item) -> tuple[str, str, str]:
        if isinstance(item, Message):
            payload = item.payload.decode(errors="replace") if self._is_text else b64encode(item.payload).decode()
            return payload, render_id(item.origin.device_id or 0), str(item.received_ns // 1_000_000)
        encoded = self._content.encode(item).decode()
        return encoded, render_id(item.event.origin.device_id or 0), str(item.time_ns // 1_000_000)
