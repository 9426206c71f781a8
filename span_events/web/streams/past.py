"""The past of a stream: the frames that a client gets before the first live event or message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from span_events.events.activity import Activity, SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import Scope
from span_events.events.history import History
from span_events.events.message import Message
from span_events.events.reasons import DroppedReason
from span_events.fanout.hub import Hub, origin_of
from span_events.fanout.subscriber import Stream
from span_events.fleet.devices.inbox import Inbox
from span_events.web.streams.request import StreamRequest

Found = tuple[Sequence[Activity | Message], int | None]
"""Items of the past, and the identifier through which items are missing before them, if some are."""


class Past:
    """Reads the history for streams of activity, and the inbox for streams of messages."""

    def __init__(self, hub: Hub, history: History, inbox: Inbox) -> None:
        self._hub = hub
        self._history = history
        self._inbox = inbox

    def frames(
        self, stream: Stream, scope: Scope, wish: StreamRequest, count: Callable[[int], None] = lambda replayed: None
    ) -> Iterator[bytes]:
        """
        Yield the frames of the past, then the mark where the present begins.

        Args:
            count: Called with the number of past items.
        """
        items, lost_through = self._read(stream, scope, wish)
        if lost_through is not None and wish.encoding.tells_gaps:
            yield wish.encoding.encode(self._hub.stamp(_gap(scope, lost_through)))
        items = items[: wish.part.limit]
        count(len(items))
        for item in items:
            yield wish.encoding.encode(item)
        if wish.live is not None:
            yield wish.encoding.raw(wish.live)

    def _read(self, stream: Stream, scope: Scope, wish: StreamRequest) -> Found:
        """Return the past that a request asks for; without following, all of it if it names no begin."""
        if wish.part.follow and not wish.part.replays:
            return (), None
        items, lost_through = (
            self._activities(scope, wish) if stream is Stream.ACTIVITIES else self._messages(scope, wish)
        )
        return items, None if wish.part.after is None else lost_through

    def _activities(self, scope: Scope, wish: StreamRequest) -> Found:
        part = wish.part
        if part.tail is not None:
            found = self._history.tail(scope, wish.filter, part.tail, until=part.until)
        else:
            found = self._history.after(scope, wish.filter, part.after or 0, until=part.until)
        return found.activities, found.lost_through

    def _messages(self, scope: Scope, wish: StreamRequest) -> Found:
        part = wish.part
        if part.tail is not None:
            found = self._inbox.tail(scope, part.tail, until=part.until)
        else:
            found = self._inbox.after(scope, part.after or 0, until=part.until)
        return found.messages, found.lost_through


def _gap(scope: Scope, lost_through: int) -> EventsDropped:
    return EventsDropped(
        origin=origin_of((scope,)),
        reason=DroppedReason.HISTORY_GAP,
        last_id=SpanId(lost_through),
    )
