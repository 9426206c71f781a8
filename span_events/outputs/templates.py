"""Templates of topics and payloads: ``{{ device.deviceId }}``, ``{{ message | json }}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson

_PLACE: Final = re.compile(r"\{\{\s*(\w+(?:\.\w+)*)\s*(\|\s*json\s*)?\}\}")


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Replace each place by its value; one without a value becomes nothing."""

    def value_of(match: re.Match[str]) -> str:
        value: Any = values
        for name in match[1].split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if match[2] or isinstance(value, Mapping | list):
            return orjson.dumps(value).decode()
        return "" if value is None else str(value)

    return _PLACE.sub(value_of, template)


def values_of(encoded: bytes, *, is_activity: bool) -> dict[str, Any]:
    """Return the values for the JSON of a message or event: ``message`` or ``event``, ``device``, ``collection``."""
    document = orjson.loads(encoded)
    device = document.get("device") or {"deviceId": document.get("deviceId", "0")}
    collection_id = device.get("collectionId") or document.get("collectionId", "0")
    return {
        "event" if is_activity else "message": document,
        "device": device,
        "collection": {"collectionId": collection_id},
    }
