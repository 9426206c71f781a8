"""The past of a stream: the frames that a client gets before the first live event or message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from span_events.clock import Clock
from span_events.events.activity import Activity, SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import Scope
from span_events.events.history import History
from span_events.events.message import Message
from span_events.events.reasons import DroppedReason
from span_events.fanout.hub import Hub, origin_of
from span_events.fanout.subscriber import Encoding, Stream
from span_events.fleet.devices.inbox import Inbox
from span_events.web.streams.request import StreamRequest

_FRAMES: Final = 4_096
"""Upper bound of frames that are kept."""
_KEPT: Final = 1.0
"""Seconds that they are kept."""
_LONGEST: Final = 4_096
"""Octets of the longest frame that is kept."""
Found = tuple[Sequence[Activity | Message], int | None]
"""Items of the past, and the identifier through which items are missing before them, if some are."""


class Past:
    """Reads the history for streams of activity, and the inbox for streams of messages."""

    def __init__(self, hub: Hub, history: History, inbox: Inbox, clock: Clock) -> None:
        self._hub = hub
        self._history = history
        self._inbox = inbox
        self._frames: dict[Encoding, dict[int, bytes]] = {}
        """Frames of recent replays, by identifier."""
        self._size = 0
        self._clock = clock
        self._since = 0.0

    def frames(
        self, stream: Stream, scope: Scope, wish: StreamRequest, count: Callable[[int], None] = lambda replayed: None
    ) -> Iterator[bytes]:
        """
        Yield the frames of the past, then the mark where the present begins; the reader wraps them.

        Args:
            count: Called with the number of past items.
        """
        self._forget_frames()
        items, lost_through = self._read(stream, scope, wish)
        if lost_through is not None and wish.encoding.tells_gaps:
            yield self._frame_of(self._hub.stamp(_gap(scope, lost_through)), wish.encoding)
        items = items[: wish.part.limit]
        count(len(items))
        for item in items:
            yield self._frame_of(item, wish.encoding)
        if wish.live is not None:
            yield wish.encoding.frame(wish.live)

    def _forget_frames(self) -> None:
        """Forget frames that are old: they name devices as they were."""
        now = self._clock.monotonic()
        if self._size > _FRAMES or now - self._since >= _KEPT:
            self._frames, self._size, self._since = {}, 0, now

    def _frame_of(self, item: Activity | Message, encoding: Encoding) -> bytes:
        """Frame an item, once for the many clients that come back at the same time."""
        frames = self._frames.setdefault(encoding, {})
        frame = frames.get(item.id)
        if frame is None:
            frame = encoding.frame(encoding.dialect.encode(item))
            if len(frame) <= _LONGEST and self._size <= _FRAMES:
                frames[item.id] = frame
                self._size += 1
        return frame

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
