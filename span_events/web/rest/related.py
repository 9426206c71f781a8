"""Related events: all that one message, request or session caused, out of the history."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import orjson
from aiohttp import web

from span_events import ids
from span_events.dialects.span import SpanDialect
from span_events.errors import InvalidRequest
from span_events.events.activity import Activity
from span_events.events.filters import PASS_ALL, Scope
from span_events.fanout.subscriber import Stream
from span_events.web.paths import collection_of, paged
from span_events.web.rest.replies import render
from span_events.web.services import SERVICES

_DIALECT: Final = SpanDialect(extended=True)


async def related(request: web.Request) -> web.Response:
    """
    List the events with one correlation id, oldest first, each with the milliseconds since the one before.

    The id is that of a cause, a session, or of one of the events; ``cause:`` and ``session:`` before it are accepted.
    """
    collection = collection_of(request)
    text = request.query.get("id", "")
    if not text:
        raise InvalidRequest(
            "id is missing: the id of an event, or one of its correlationIds", field="id", hint="Tail with extended=1."
        )
    identifier = ids.parse(text.removeprefix("cause:").removeprefix("session:"), what="id")
    services = request.app[SERVICES]
    scope, history = Scope(collection.id), services.history
    await services.hub.caught_up(Stream.ACTIVITIES, (scope,))
    present = history.after(scope, PASS_ALL, identifier - 1, until=identifier).activities
    if present:  # the id of an event: its cause, or else its session
        identifier = present[0].event.correlation_id or present[0].event.session_id or identifier
    found = [each for each in history.related(identifier) if scope.covers(each.event.origin)] or present
    pauses = {activity.id: document for activity, document in _with_pauses(found)}
    return render({"events": [pauses[each.id] for each in paged(request, found)]})


def _with_pauses(activities: Iterable[Activity]) -> Iterable[tuple[Activity, dict[str, Any]]]:
    before = None
    for activity in activities:
        document = orjson.loads(_DIALECT.encode(activity))
        document["afterMs"] = 0 if before is None else max(0, activity.time_ns - before) // 1_000_000
        before = activity.time_ns
        yield activity, document


ROUTES: Final = [web.get("/span/collections/{collection}/related", related)]
