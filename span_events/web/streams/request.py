"""Stream requests: the query parameters of a stream, checked before the upgrade."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiohttp import web

from span_events import ids
from span_events.config import EventsConfig, StreamsConfig
from span_events.dialects import span
from span_events.dialects.span import SpanDialect
from span_events.errors import InvalidRequest
from span_events.events.filters import Filter, parse_filter
from span_events.fanout.subscriber import Encoding, encoding
from span_events.web.paths import flag_of
from span_events.wire.websocket import text_frame

_ULID: Final = 26
"""Characters of a ULID."""
_PARAMETERS: Final = frozenset(
    (
        "api_token",
        "event",
        "device",
        "gateway",
        "severity",
        "profile",
        "extended",
        "format",
        "tail",
        "after",
        "unattributed",
    )
)


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The events that a client requests, their encoding, and the start."""

    filter: Filter
    encoding: Encoding
    tail: int | None = None
    """Begin with so many of the past."""
    after: int | None = None
    """Identifier after which the stream begins."""
    marks_live: bool = False
    """Mark where the past ends."""


def stream_request_of(request: web.Request, *, events: EventsConfig, streams: StreamsConfig) -> StreamRequest:
    """
    Read the request for an activity stream.

    Raises:
        InvalidRequest: A parameter is not valid; the message names it.
    """
    check_parameters(request, _PARAMETERS)
    query = request.query
    _one_of(query.get("format", "span"), ("span",), name="format")
    profile = _one_of(query.get("profile", events.profile), ("span", "extended"), name="profile")
    extended = flag_of(request, "extended")
    if "tail" in query and "after" in query:
        raise InvalidRequest("tail and after cannot be combined", field="after")
    return StreamRequest(
        parse_filter(
            events=query.getall("event", []),
            severity=query.get("severity"),
            devices=query.getall("device", []),
            gateways=query.getall("gateway", []),
            span_only=profile == "span",
        ),
        encoding(
            SpanDialect(extended=extended, span_only=profile == "span"),
            text_frame,
            tells_gaps=profile != "span",
            keepalive=span.KEEPALIVE if extended else None,
            silence=streams.keepalive_activity,
        ),
        tail=_tail(query["tail"], most=streams.max_tail) if "tail" in query else None,
        after=_after(query["after"]) if "after" in query else None,
        marks_live=extended,
    )


def check_parameters(request: web.Request, known: frozenset[str]) -> None:
    """
    Refuse unknown parameters, which are mostly misspelt ones.

    Raises:
        InvalidRequest: This stream does not have the parameter.
    """
    for name in request.query:
        if name not in known:
            raise InvalidRequest(
                f"There is no query parameter {name[:40]!r} here",
                hint=f"This stream takes {' '.join(sorted(known))}.",
                field=name[:40],
            )


def _one_of(value: str, words: tuple[str, ...], *, name: str) -> str:
    if value not in words:
        raise InvalidRequest(f"{name}: {value[:20]!r} is not one of {' '.join(words)}", field=name)
    return value


def _tail(text: str, *, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise InvalidRequest(f"tail: {text[:20]!r} is not a whole number from 0 to {most}", field="tail")
    return int(text)


def _after(text: str) -> int:
    """Read a point in time: a Span id, a ULID, or RFC 3339."""
    try:
        if "-" not in text and ":" not in text:
            return ids.from_ulid(text) if len(text) == _ULID else ids.parse(text)
        moment = datetime.fromisoformat(text.strip().replace(" ", "+", 1) if "T" in text else text.strip())
    except (ValueError, InvalidRequest):
        raise InvalidRequest(
            f"after: {text[:40]!r} is neither an event's id nor an RFC 3339 time", field="after"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return ids.first_at(int(moment.timestamp() * 1000))
