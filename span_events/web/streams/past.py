"""The past of a stream: the frames that a client gets before the first live event."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from span_events.events.activity import SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import Scope
from span_events.events.history import History, Replay
from span_events.events.reasons import DroppedReason
from span_events.fanout.hub import Hub, origin_of
from span_events.web.streams.request import StreamRequest


class Past:
    """Reads the history for stream requests."""

    def __init__(self, hub: Hub, history: History) -> None:
        self._hub = hub
        self._history = history

    def frames(
        self, scope: Scope, wish: StreamRequest, count: Callable[[int], None] = lambda replayed: None
    ) -> Iterator[bytes]:
        """
        Yield the frames of the past, then the mark where the present begins.

        Args:
            count: Called with the number of past events.
        """
        past = self._read(scope, wish)
        if past is not None:
            if past.lost_through is not None and wish.encoding.tells_gaps:
                yield wish.encoding.encode(self._hub.stamp(_gap(scope, past.lost_through)))
            activities = past.activities[: wish.limit]
            count(len(activities))
            for activity in activities:
                yield wish.encoding.encode(activity)
        if wish.live is not None:
            yield wish.encoding.raw(wish.live)

    def _read(self, scope: Scope, wish: StreamRequest) -> Replay | None:
        """Return the past that a request asks for; without following, all of it if it names no begin."""
        if wish.after is not None:
            return self._history.after(scope, wish.filter, wish.after, until=wish.until)
        if wish.tail is not None:
            return self._history.tail(scope, wish.filter, wish.tail, until=wish.until)
        if wish.follow:
            return None
        return replace(self._history.after(scope, wish.filter, 0, until=wish.until), lost_through=None)


def _gap(scope: Scope, lost_through: int) -> EventsDropped:
    return EventsDropped(
        origin=origin_of((scope,)),
        reason=DroppedReason.HISTORY_GAP,
        last_id=SpanId(lost_through),
    )
