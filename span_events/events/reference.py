"""The catalogue for readers: as JSON documents, and as the README's table."""

from __future__ import annotations

from typing import Any

from span_events.events.activity import Event, Key
from span_events.events.catalogue import CATALOGUE, KEYS, meaning_of


def describe(event: type[Event]) -> dict[str, Any]:
    """Write all about an event: name, meaning, severity, hint, and each key with its reasons."""
    return {
        "name": event.name,
        "meaning": meaning_of(event),
        "severity": event.severity.word,
        "hint": event.hint,
        "extension": event.extension,
        "keys": [_describe_key(each) for each in KEYS[event]],
    }


def render_table() -> str:
    """Write the README's table of events; keys in parentheses may be absent."""
    rows = ["| event | severity | meaning | data |", "| --- | --- | --- | --- |"]
    for event in CATALOGUE.values():
        name = f"`{event.name}`" + (" +" if event.extension else "")
        keys = " ".join(f"({each.name})" if each.optional else each.name for each in KEYS[event])
        rows.append(f"| {name} | {event.severity.word} | {meaning_of(event)} | {keys} |")
    return "\n".join(rows) + "\n"


def _describe_key(key: Key) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": key.name,
        "meaning": key.meaning,
        "optional": key.optional,
        "extension": key.extension,
    }
    if key.reasons is not None:
        document["reasons"] = [{"value": each.value, "hint": each.hint} for each in key.reasons]
    return document
