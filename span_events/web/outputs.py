"""Documents of outputs: Span's JSON of an output, its status and its log."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from span_events.dialects.span import render_id
from span_events.fleet.outputs.health import OutputHealth
from span_events.net import shown_url
from span_events.registry.outputs import Output, OutputConfig
from span_events.web.documents import Document

_INT32: Final = (1 << 31) - 1
_OWN: Final = frozenset({"content", "format", "signing_secret"})
"""Settings that Span does not have."""
_SECRETS: Final = frozenset({"basic_auth_pass", "custom_header_value", "key", "password", "signing_secret"})


def camel(name: str) -> str:
    """Return the JSON name of a setting."""
    head, *tail = name.split("_")
    return head + "".join(each.capitalize() for each in tail)


_SETTINGS: Final = tuple((each.name, camel(each.name)) for each in dataclasses.fields(OutputConfig))


def output(value: Output, *, secrets: bool, extended: bool) -> Document:
    """
    Write an Output; settings that are not set are left out.

    Args:
        secrets: Show passwords and keys, too, and the query of a URL, which may hold one.
        extended: Show our own settings, too.
    """
    config: dict[str, Any] = {}
    for name, key in _SETTINGS:
        setting = getattr(value.config, name)
        if setting and (secrets or name not in _SECRETS) and (extended or name not in _OWN):
            config[key] = setting
    if "url" in config and not secrets:
        config["url"] = shown_url(config["url"])
    return {
        "outputId": render_id(value.id),
        "collectionId": render_id(value.collection_id),
        "type": value.type.value,
        "config": config,
        "enabled": value.enabled,
        "tags": dict(value.tags),
    }


def output_status(value: Output, health: OutputHealth, *, extended: bool) -> Document:
    """Write an OutputStatus; extended, also what waits and what was dropped, and whether the output delivers."""
    document: Document = {
        "collectionId": render_id(value.collection_id),
        "outputId": render_id(value.id),
        "enabled": value.enabled,
        "errorCount": min(health.errors, _INT32),
        "forwarded": min(health.forwarded, _INT32),
        "received": min(health.received, _INT32),
        "retransmits": min(health.retransmits, _INT32),
    }
    if extended:
        document["waiting"] = health.waiting
        document["dropped"] = health.dropped
        document["failing"] = health.failing_since is not None
    return document


def output_log(health: OutputHealth) -> Document:
    """Write the error log of an output, the oldest entry first."""
    return {
        "logs": [
            {"time": str(each.time_ms), "message": each.message, "repeated": min(each.repeated, _INT32)}
            for each in health.log
        ]
    }
