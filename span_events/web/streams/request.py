"""Stream requests: the form and the query parameters of a stream, checked before its first octet."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from aiohttp import web

from span_events import ids
from span_events.config import EventsConfig, StreamsConfig
from span_events.dialects import span, sse
from span_events.dialects.chirpstack.encoding import ChirpstackDialect
from span_events.dialects.chirpstack.event import Facts
from span_events.dialects.chirpstack.rules import UNMAPPED
from span_events.dialects.cloudevents import CloudEventsDialect
from span_events.dialects.span import SpanDialect
from span_events.dialects.sse import SseDialect, SseMessages
from span_events.errors import InvalidRequest
from span_events.events.filters import PASS_ALL, Filter, parse_filter
from span_events.fanout.subscriber import Dialect, Encoding, encoding, unchanged
from span_events.web.paths import flag_of
from span_events.web.streams.replies import wrapping_of
from span_events.wire.websocket import text_frame

_EXPORT: Final = ("until", "limit")
"""Parameters that end a stream where the present begins, like ``follow=0``."""
_MOST: Final = 999_999_999
_ULID: Final = 26
"""Characters of a ULID."""
_MILLISECONDS: Final = 13
"""Digits of a time in milliseconds since 1970, as Span writes times; no event's id is so short."""
_REPEATABLE: Final = frozenset(("event", "device", "gateway", "reason"))
FORMATS: Final = ("span", "cloudevents", "chirpstack")
MESSAGE_PARAMETERS: Final = frozenset(("api_token", "tail", "after", "until", "limit", "follow"))
PARAMETERS: Final = MESSAGE_PARAMETERS | frozenset(
    (
        "event",
        "device",
        "gateway",
        "severity",
        "reason",
        "text",
        "profile",
        "extended",
        "format",
        "unattributed",
    )
)


class Form(Enum):
    """The ways in which a stream reaches its client."""

    WEBSOCKET = "websocket"
    SSE = "text/event-stream"
    NDJSON = "application/x-ndjson"


def form_of(request: web.Request) -> Form:
    """Return the form that a request asks for: a WebSocket by its handshake, SSE by Accept, else lines of JSON."""
    headers = request.headers
    if headers.get("Upgrade", "").strip().lower() == "websocket" or "Sec-WebSocket-Key" in headers:
        return Form.WEBSOCKET
    return Form.SSE if "text/event-stream" in headers.get("Accept", "").lower() else Form.NDJSON


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a stream that a client requests."""

    tail: int | None = None
    """Begin with so many of the past."""
    after: int | None = None
    """Identifier after which the stream begins."""
    until: int | None = None
    """Identifier after which the stream ends."""
    limit: int | None = None
    """End after so many of the past."""
    follow: bool = True
    """False to end where the present begins."""

    @property
    def replays(self) -> bool:
        """Whether the client named a begin in the past."""
        return self.after is not None or self.tail is not None


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """The events that a client requests, their form and encoding, the begin and the end."""

    filter: Filter
    encoding: Encoding
    form: Form
    part: Part
    span_only: bool = False
    """Exclude the events that Span does not define."""
    without: frozenset[str] = frozenset()
    """Names of events that the dialect does not have."""
    live: bytes | None = None
    """Item that marks where the past ends, before framing; None for no mark."""


def stream_request_of(
    request: web.Request, *, events: EventsConfig, streams: StreamsConfig, facts: Facts
) -> StreamRequest:
    """
    Read the request for an activity stream.

    Raises:
        InvalidRequest: A parameter is not valid; the message names it.
    """
    check_parameters(request, PARAMETERS)
    query = request.query
    format_ = _one_of(query.get("format", "span"), FORMATS, name="format")
    chirpstack = format_ == "chirpstack"
    without = UNMAPPED if chirpstack else frozenset()
    profile = _one_of(query.get("profile", events.profile), ("span", "extended"), name="profile")
    extended = flag_of(request, "extended")
    form = form_of(request)
    part = _part_of(request, form, streams)
    dialect = _dialect_of(format_, facts, extended=extended, span_only=profile == "span")
    return StreamRequest(
        parse_filter(
            events=query.getall("event", []),
            severity=query.get("severity"),
            devices=query.getall("device", []),
            gateways=query.getall("gateway", []),
            reasons=query.getall("reason", []),
            text=query.get("text"),
            span_only=profile == "span",
            of_devices=chirpstack,
            without=without,
        ),
        _encoding_of(
            request,
            form,
            SseDialect(dialect) if form is Form.SSE else dialect,
            tells_gaps=profile != "span" and not chirpstack,
            keepalive=span.KEEPALIVE if extended else None,
            silence=streams.keepalive_activity,
        ),
        form,
        part,
        span_only=profile == "span",
        without=without,
        live=_live_mark(form, part, extended=extended),
    )


def message_request_of(request: web.Request, *, streams: StreamsConfig, dialect: Dialect) -> StreamRequest:
    """
    Read the request for a stream of upstream messages.

    Gaps are for clients that know of them: those that ask for the past, which Span does not have, and those of SSE.

    Raises:
        InvalidRequest: A parameter is not valid; the message names it.
    """
    check_parameters(request, MESSAGE_PARAMETERS)
    form = form_of(request)
    part = _part_of(request, form, streams)
    encoding = _encoding_of(
        request,
        form,
        SseMessages(dialect) if form is Form.SSE else dialect,
        tells_gaps=form is Form.SSE or part.replays,
        keepalive=span.KEEPALIVE,
        silence=streams.keepalive_from,
    )
    return StreamRequest(PASS_ALL, encoding, form, part, live=_live_mark(form, part, extended=False))


def _part_of(request: web.Request, form: Form, streams: StreamsConfig) -> Part:
    query = request.query
    after = _point(query["after"], "after") if "after" in query else None
    if form is Form.SSE and request.headers.get("Last-Event-ID"):  # a browser resumes with the URL of its first request
        after = _point(request.headers["Last-Event-ID"], "Last-Event-ID")
    elif "tail" in query and after is not None:
        raise InvalidRequest("tail and after cannot be combined", field="after")
    follow = flag_of(request, "follow", default=not any(name in query for name in _EXPORT))
    if follow and any(name in query for name in _EXPORT):
        raise InvalidRequest("until and limit end the stream: they cannot be combined with follow=1", field="follow")
    return Part(
        tail=_number("tail", query["tail"], most=streams.max_tail) if "tail" in query and after is None else None,
        after=after,
        until=_point(query["until"], "until") if "until" in query else None,
        limit=_number("limit", query["limit"], most=_MOST) if "limit" in query else None,
        follow=follow,
    )


def _dialect_of(name: str, facts: Facts, *, extended: bool, span_only: bool) -> Dialect:
    match name:
        case "cloudevents":
            return CloudEventsDialect()
        case "chirpstack":
            return ChirpstackDialect(facts)
        case _:
            return SpanDialect(extended=extended, span_only=span_only, names=facts if extended else None)


def _live_mark(form: Form, part: Part, *, extended: bool) -> bytes | None:
    """Return the item between past and present; Span's plain streams have none."""
    if not part.follow:
        return None
    if form is Form.SSE:
        return sse.LIVE if part.replays else None
    return span.LIVE if extended else None


def _encoding_of(
    request: web.Request, form: Form, dialect: Dialect, *, tells_gaps: bool, keepalive: bytes | None, silence: float
) -> Encoding:
    """Return the encoding of items for a form; for SSE, the dialect has its fields already."""
    if form is Form.WEBSOCKET:
        return encoding(dialect, text_frame, tells_gaps=tells_gaps, keepalive=keepalive, silence=silence)
    keepalive = sse.KEEPALIVE if form is Form.SSE else keepalive
    wrap = wrapping_of(request)
    return encoding(dialect, unchanged, wrap, tells_gaps=tells_gaps, keepalive=keepalive, silence=silence)


def check_parameters(request: web.Request, known: frozenset[str]) -> None:
    """
    Refuse unknown parameters, which are mostly misspelt ones, and second values that would not count.

    Raises:
        InvalidRequest: This stream does not have the parameter, or takes one value of it.
    """
    for name in request.query:
        if name not in known:
            raise InvalidRequest(
                f"There is no query parameter {name[:40]!r} here",
                hint=f"This stream takes {' '.join(sorted(known))}.",
                field=name[:40],
            )
        if name not in _REPEATABLE and len(request.query.getall(name)) > 1:
            raise InvalidRequest(
                f"{name}: is there more than once, and only the first would count",
                hint=f"Only {', '.join(sorted(_REPEATABLE))} may be repeated.",
                field=name,
            )


def _one_of(value: str, words: tuple[str, ...], *, name: str) -> str:
    if value not in words:
        raise InvalidRequest(f"{name}: {value[:20]!r} is not one of {' '.join(words)}", field=name)
    return value


def _number(name: str, text: str, *, most: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) > most:
        raise InvalidRequest(f"{name}: {text[:20]!r} is not a whole number from 0 to {most}", field=name)
    return int(text)


def _point(text: str, name: str) -> int:
    """Read a point in time: a Span id, a ULID, RFC 3339, or milliseconds."""
    try:
        if len(text) == _MILLISECONDS and text.isascii() and text.isdigit():
            return ids.first_at(int(text))
        if "-" not in text and ":" not in text:
            return ids.from_ulid(text) if len(text) == _ULID else ids.parse(text)
        time = text.strip().upper()  # RFC 3339 allows t and z
        moment = datetime.fromisoformat(time.replace(" ", "+", 1) if "T" in time else time)
    except (ValueError, InvalidRequest):
        raise InvalidRequest(
            f"{name}: {text[:40]!r} is neither an event's id nor an RFC 3339 time",
            hint="Milliseconds since 1970, as Span's `received` has them, are a time too.",
            field=name,
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return ids.first_at(int(moment.timestamp() * 1000))
