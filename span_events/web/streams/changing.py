"""Changes of a filter: a WebSocket's client sends ``{"filter": {…}}`` instead of connecting again."""

from __future__ import annotations

from typing import Final

import orjson

from span_events.errors import InvalidRequest
from span_events.events.filters import Filter, parse_filter

_LISTS: Final = ("event", "device", "gateway", "reason")
_TEXTS: Final = ("severity", "text")


def filter_of(
    message: bytes, *, span_only: bool, of_devices: bool = False, without: frozenset[str] = frozenset()
) -> tuple[Filter, dict[str, object]] | None:
    """
    Read a message of a client; return its filter, and the criteria as applied.

    None for a message without the key ``filter``: clients of Span may send other texts.

    Args:
        span_only: Exclude the events that Span does not define, as the stream does.
        of_devices: Exclude events without a device, as the stream does.
        without: Names of events that the stream excludes.

    Raises:
        InvalidRequest: A criterion is not valid.
    """
    try:
        found = orjson.loads(message)  # unlike json, it refuses halves of surrogate pairs, which no answer can repeat
    except orjson.JSONDecodeError as exc:
        if b'"filter"' in message:
            raise InvalidRequest(f"the message with a filter is no JSON: {exc}", hint=_HINT, field="filter") from exc
        return None
    if not isinstance(found, dict) or "filter" not in found:
        return None
    criteria = found["filter"]
    if not isinstance(criteria, dict):
        raise InvalidRequest("filter is no object", hint=_HINT, field="filter")
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    texts: dict[str, str | None] = dict.fromkeys(_TEXTS)
    for name, value in criteria.items():
        if name in lists:
            values = value if isinstance(value, list) else [value]
            if not all(isinstance(each, str) for each in values):
                raise InvalidRequest(f"filter.{name} is neither a text nor a list of texts", field=f"filter.{name}")
            lists[name] = values
        elif name in texts and (value is None or isinstance(value, str)):
            texts[name] = value
        else:
            raise InvalidRequest(
                f"filter: there is no criterion {name[:40]!r} of this type",
                hint=f"The criteria are {' '.join((*_LISTS, *_TEXTS))}.",
                field="filter",
            )
    parsed = parse_filter(
        events=lists["event"],
        devices=lists["device"],
        gateways=lists["gateway"],
        reasons=lists["reason"],
        severity=texts["severity"],
        text=texts["text"],
        span_only=span_only,
        of_devices=of_devices,
        without=without,
    )
    return parsed, {name: value for name, value in (lists | texts).items() if value}


def answer(criteria: dict[str, object]) -> bytes:
    """Return the answer to a change: the filter as applied."""
    return orjson.dumps({"filter": criteria, "type": "filter"}, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SORT_KEYS)


def refusal(error: InvalidRequest) -> bytes:
    """Return the answer to a change that is not valid; the stream goes on with its filter."""
    problem = {"detail": error.detail, "field": error.field, "hint": error.hint, "type": "error"}
    return orjson.dumps({key: value for key, value in problem.items() if value}, option=orjson.OPT_APPEND_NEWLINE)


_HINT: Final = 'Send {"filter": {"event": ["clientRejected"], "severity": "warning"}}.'
