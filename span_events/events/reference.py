"""The catalogue for readers: as JSON documents, and as the guide to events."""

from __future__ import annotations

from typing import Any

from span_events.events.activity import Event, Key, Reason
from span_events.events.catalogue import CATALOGUE, KEYS, SEVERITIES, meaning_of


def describe(event: type[Event]) -> dict[str, Any]:
    """Write all about an event: name, meaning, severity (also of a reason with its own), hint, keys with reasons."""
    return {
        "name": event.name,
        "meaning": meaning_of(event),
        "severity": event.severity.word,
        "hint": event.hint,
        "extension": event.extension,
        "keys": [_describe_key(each) for each in KEYS[event]],
    }


def render_guide() -> str:
    """Return the guide to events (``guides/events.md``), with the table of the catalogue."""
    return f"""\
# Events

An activity event is one step of a device or gateway, with a name, a severity, data and, after a failure, a reason.

`span-events events NAME` shows the keys, reasons and hints of an event; `GET /span/events/catalogue` gives the same
as JSON. All data values are text. Keys in parentheses may be absent.
A `+` marks an extension: an event that Span does not have.

{render_table()}"""


def render_table() -> str:
    """Return the table of events; keys in parentheses may be absent."""
    rows = ["| event | severity | meaning | data |", "| --- | --- | --- | --- |"]
    for event in CATALOGUE.values():
        name = f"`{event.name}`" + (" +" if event.extension else "")
        keys = " ".join(f"({each.name})" if each.optional else each.name for each in KEYS[event])
        rows.append(f"| {name} | {severity_words(event)} | {meaning_of(event)} | {keys} |")
    return "\n".join(rows) + "\n"


def severity_words(event: type[Event]) -> str:
    """Write the severities that an event can have: ``info``, or ``info, warning or error``."""
    *others, last = (each.word for each in SEVERITIES[event])
    return f"{', '.join(others)} or {last}" if others else last


def _describe_key(key: Key) -> dict[str, Any]:
    document: dict[str, Any] = {
        "name": key.name,
        "meaning": key.meaning,
        "optional": key.optional,
        "extension": key.extension,
    }
    if key.reasons is not None:
        document["reasons"] = [_describe_reason(each) for each in key.reasons]
    return document


def _describe_reason(reason: Reason) -> dict[str, str]:
    document = {"value": reason.value, "hint": reason.hint}
    return document if reason.severity is None else document | {"severity": reason.severity.word}
