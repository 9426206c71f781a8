"""
The hub: carries one published event to all matching subscribers with one write each.

An event is written once per dialect and framed once per encoding, and appended to the matching groups,
which an index by collection, device and gateway finds. One flush per loop tick joins the frames of that
tick and does one ``write`` per subscriber. Under load, flushes wait a few milliseconds for
more frames. Long rounds are cut into slices, so that listeners run in between.

A slow reader hurts only itself: above its limit the hub drops whole batches for it, and sends
one `eventsDropped` as soon as it has caught up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from span_events.bounded.expiring import ExpiringMap
from span_events.bus.base import Reach, Topic, have_gap, topics_of
from span_events.clock import Clock
from span_events.config import FanoutConfig
from span_events.errors import Unavailable
from span_events.events.activity import UNATTRIBUTED, Activity, Event, Origin, SpanId
from span_events.events.catalogue import EventsDropped
from span_events.events.filters import Wish
from span_events.events.message import Message
from span_events.events.reasons import DroppedReason
from span_events.fanout.index import Index
from span_events.fanout.subscriber import (
    Batch,
    Close,
    Encoding,
    Ending,
    Gap,
    Group,
    GroupKey,
    Scopes,
    Sink,
    Stream,
    Subscriber,
)
from span_events.ids import IdGenerator, render
from span_events.log import get_logger
from span_events.metrics import Histogram, HistogramMetric, Measure, Metric

log = get_logger("fanout")

_BUSY = 0.2  # share of the time spent flushing from which on flushes wait for company
_FIRST_LINGER = 0.001
_REVOKED, _REVOKED_FOR = 10_000, 10.0  # tokens that are remembered, and seconds, for streams that wait for their past
_BACKLOG_WRITES = 16  # writes' worth of octets that may gather behind a round before it is finished at once


@dataclass(slots=True)
class _Round:
    """Batches on their way to the subscribers of a group."""

    batches: list[Batch]
    subscribers: list[Subscriber]
    position: int = 0


class Hub:
    """
    All subscribers, in groups that share frames.

    Construct it inside the running event loop. Its plain functions are safe to call from anywhere
    in that loop; none of them awaits.

    Args:
        reach: Told which events of other nodes have subscribers here; None if there are no other nodes.
    """

    def __init__(
        self, config: FanoutConfig, clock: Clock, identifiers: IdGenerator, reach: Reach | None = None
    ) -> None:
        self._reach = reach
        self._config = config
        self._clock = clock
        self._identifiers = identifiers
        self._loop = asyncio.get_running_loop()
        # asyncio's own transports send at once, so octets that remain after a write are the reader's backlog.
        # Others (uvloop) send at the end of the tick: there, only the buffer size before a write is the backlog.
        self._sends_at_once = isinstance(self._loop, asyncio.BaseEventLoop)
        self._indexes = {stream: Index() for stream in Stream}
        self._activities = self._indexes[Stream.ACTIVITIES]
        self._messages = self._indexes[Stream.MESSAGES]
        self._groups: dict[GroupKey, Group] = {}
        self._dirty: list[Group] = []
        self._rounds: deque[_Round] = deque()
        self._flush_handle: asyncio.Handle | None = None
        self._behind: set[Subscriber] = set()  # owed octets when last looked at, or missed something
        self._linger = 0.0
        self._last_flush = 0.0
        self._interval = 0.0  # between the last two flushes
        self._spent = 0.0  # in the last flush, all slices together
        self._closing = False
        self._revoked: ExpiringMap[int, bool] = ExpiringMap(limit=_REVOKED, lifetime=_REVOKED_FOR)
        self._since: float | None = None  # when the first event came that waits for a flush
        self._rounds_since: float | None = None  # the same for the rounds under way
        self.delay = Histogram(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
        """Seconds from an event to its write to the last subscriber; for the first event of each flush."""
        self.subscribers = 0
        self.buffered = 0
        """Octets that wait for all subscribers together, as last seen."""
        self.delivered = 0
        """Events handed to the sockets of subscribers."""
        self.dropped = 0
        """Events dropped for slow subscribers."""

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        return [
            Metric("events_delivered", "Events handed to subscribers' sockets.", "counter", lambda: self.delivered),
            Metric("events_dropped", "Events dropped for slow subscribers.", "counter", lambda: self.dropped),
            HistogramMetric(
                "event_delivery_delay_seconds",
                "Time from the first event of each flush until the last subscriber's write; other events wait less.",
                lambda: self.delay,
            ),
            Metric("subscribers", "Open streams; at most fanout.subscribers.", "gauge", lambda: self.subscribers),
            Metric(
                "subscriber_buffer_bytes",
                "Bytes that wait for subscribers; at most fanout.total_buffer.",
                "gauge",
                lambda: self.buffered,
            ),
        ]

    # ---- publishing -------------------------------------------------------------------------

    def show(self, activity: Activity) -> None:
        """Send an activity to all matching subscribers."""
        groups = self._activities.groups_for(activity.event.origin)
        if groups:
            self._append(groups, activity, activity.event)

    def show_message(self, message: Message) -> None:
        """Send an upstream message to all matching subscribers."""
        groups = self._messages.groups_for(message.origin)
        if groups:
            self._append(groups, message, None)

    async def caught_up(self, stream: Stream, scopes: Scopes) -> None:
        """Wait until events of other nodes arrive here and the history has their past; a bounded time."""
        if self._reach is not None:
            await self._reach.caught_up(topics_of(scopes, is_messages=stream is Stream.MESSAGES))

    # ---- subscribing -------------------------------------------------------------------------

    def subscribe(
        self,
        stream: Stream,
        scopes: Scopes,
        wish: Wish,
        encoding: Encoding,
        *,
        sink: Sink,
        token_id: int,
        close: Close,
        replay: Callable[[], Iterable[bytes]] | None = None,
    ) -> Subscriber:
        """
        Add a subscriber.

        Args:
            replay: Returns frames to write first. The hub calls it here, so that no event is missed or doubled
                between the last frame of the past and the first of the present.

        Raises:
            Unavailable: There is no room, see `check_room`.
        """
        self.check_room()
        if self._revoked.get(token_id, self._clock.monotonic()):
            raise Unavailable("The token was revoked a moment ago", hint="Connect with a valid token.")
        past = b"".join(replay()) if replay else b""
        past = past and encoding.wrap(past)
        group = self._group_of((stream, scopes, wish, encoding))
        subscriber = Subscriber(sink, group, token_id=token_id, close=close, allowance=self._config.subscriber_buffer)
        if past:
            subscriber.allowance += len(past)
            subscriber.send(past)
            self._look(subscriber)
        group.subscribers.append(subscriber)
        self.subscribers += 1
        return subscriber

    def change(self, subscriber: Subscriber, wish: Wish, scopes: Scopes | None = None) -> None:
        """Give a subscriber another filter and, unless None, other scopes, from the next event on."""
        if self._dirty:
            self._flush_now()  # what was published before passed the old filter; this may end the subscriber
        if subscriber not in subscriber.group.subscribers:
            return
        stream, before, _, encoding = subscriber.group.key
        group = self._group_of((stream, before if scopes is None else scopes, wish, encoding))
        if group is subscriber.group:
            return
        self._leave_group(subscriber)
        subscriber.joined += group.written - subscriber.group.written
        subscriber.group = group
        group.subscribers.append(subscriber)

    def _group_of(self, key: GroupKey) -> Group:
        """Return the group of a key, with nothing pending: that belongs to the earlier members."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, self._clock.monotonic())
            self._indexes[key[0]].add(group)
            if self._reach is not None:
                self._reach.follow(_topics_of(group))
        elif group.pending:
            self._flush_now()
        return group

    def _leave_group(self, subscriber: Subscriber) -> None:
        group = subscriber.group
        group.subscribers.remove(subscriber)
        if not group.subscribers:
            del self._groups[group.key]
            self._indexes[group.key[0]].remove(group)
            if self._reach is not None:
                self._reach.unfollow(_topics_of(group))

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Take a reader away; twice does no harm."""
        if subscriber not in subscriber.group.subscribers:
            return
        self._leave_group(subscriber)
        self.subscribers -= 1
        self.buffered -= subscriber.buffered
        subscriber.buffered = 0
        self._behind.discard(subscriber)
        subscriber.leave()  # a round may still hold it

    def check_room(self) -> None:
        """
        Check that one more subscriber is within the limits.

        Raises:
            Unavailable: The number of subscribers, or the octets that wait for all of them, is at its limit; or the hub
                is closed.
        """
        if self._closing:
            raise Unavailable("The server is shutting down", hint="Connect again in a moment.")
        if self.subscribers >= self._config.subscribers:
            raise Unavailable(
                f"There are {self.subscribers} subscribers, as many as fanout.subscribers allows",
                hint="Close streams that nobody reads, or raise fanout.subscribers.",
            )
        if self.buffered >= self._config.total_buffer:
            raise Unavailable(
                f"{self.buffered} octets wait for slow subscribers, fanout.total_buffer is {self._config.total_buffer}",
                hint="Close streams that nobody reads, or raise fanout.total_buffer.",
            )

    def __iter__(self) -> Iterator[Subscriber]:
        """Iterate over all subscribers, as they are now."""
        for group in list(self._groups.values()):
            yield from list(group.subscribers)

    # ---- timers ------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Run about once a second: report gaps to readers that caught up, close the others, send keepalives."""
        now = self._clock.monotonic()
        for subscriber in list(self._behind):
            self._look(subscriber)
            if not subscriber.buffered:
                self._caught_up(subscriber)
            elif subscriber.gap and now - subscriber.gap.since >= self._config.stalled_after:
                self._give_up(subscriber, now)
        for group in self._groups.values():
            keepalive = group.encoding.keepalive
            if keepalive is not None and not group.pending and now - group.last_write >= group.encoding.silence:
                group.last_write = now
                for subscriber in group.subscribers:
                    if not subscriber.buffer_size():
                        subscriber.send(keepalive)

    def revoke(self, token_ids: Iterable[int], reason: str = "the token was revoked") -> None:
        """End the streams of tokens that are valid no longer, and of those that wait for their past."""
        token_ids = set(token_ids)
        for token_id in token_ids:
            self._revoked.put(token_id, True, self._clock.monotonic())
        for subscriber in self:
            if subscriber.token_id in token_ids:
                self._end(subscriber, Ending.REVOKED, reason)

    def close(self) -> None:
        """Write everything that waits, end all streams, and refuse new ones."""
        self._closing = True
        self._flush_now()
        for subscriber in self:
            self._end(subscriber, Ending.SHUTDOWN, "the server shuts down")

    # ---- the hot path -------------------------------------------------------------------------

    def _append(self, groups: list[Group], item: Activity | Message, event: Event | None) -> None:
        max_write, identifier = self._config.max_write, item.id
        lines: dict[int, bytes] = {}  # by the identity of the dialect: equal ones are one object, see `Encoding`
        frames: dict[Encoding, bytes] = {}
        backlog = False
        for group in groups:
            if group.last_id == identifier or (event is not None and not group.wish.matches(event)):
                continue  # a group that has the item stands in the list for another of its scopes
            encoding = group.encoding
            frame = frames.get(encoding)
            if frame is None:
                dialect = encoding.dialect
                line = lines.get(id(dialect))
                if line is None:
                    line = lines[id(dialect)] = dialect.encode(item)
                frame = frames[encoding] = encoding.frame(line)
            group.append(frame, identifier, max_write)
            if not group.pending:
                group.pending = True
                self._dirty.append(group)
                if self._since is None:
                    self._since = self._clock.monotonic()
            elif len(group.sealed) >= _BACKLOG_WRITES:
                backlog = True
        if backlog:  # only now: a flush may close subscribers, and so take groups out of the list above
            self._flush_now()
        if self._dirty and self._flush_handle is None and not self._rounds:
            self._arm()

    def _arm(self) -> None:
        if self._linger:
            self._flush_handle = self._loop.call_later(self._linger, self._flush)
        else:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        now = self._clock.monotonic()
        self._interval, self._last_flush = now - self._last_flush, now
        self._spent = 0.0
        self._begin_rounds(now)
        self._continue()

    def _continue(self) -> None:
        """Write a slice; after the last one, decide whether the next flush waits for company."""
        self._flush_handle = None
        began = self._clock.monotonic()
        self._run_rounds()
        self._spent += self._clock.monotonic() - began
        if self._rounds:
            self._flush_handle = self._loop.call_soon(self._continue)
            return
        if self._spent > _BUSY * self._interval:
            self._linger = min(self._config.max_linger_ms / 1000, max(_FIRST_LINGER, self._linger * 2))
        else:
            self._linger = self._linger / 2 if self._linger > _FIRST_LINGER else 0.0
        if self._dirty:
            self._arm()

    def _flush_now(self) -> None:
        """Finish the rounds under way, then write all pending frames without slices."""
        self._run_rounds(everything=True)
        self._begin_rounds(self._clock.monotonic())
        self._run_rounds(everything=True)

    def _begin_rounds(self, now: float) -> None:
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        dirty, self._dirty = self._dirty, []
        if self._rounds_since is None:
            self._rounds_since = self._since
        self._since = None
        for group in dirty:
            group.last_write = now
            batches = group.take()
            group.written += sum(batch.count for batch in batches)
            self._rounds.append(_Round(batches, group.subscribers.copy()))

    def _run_rounds(self, *, everything: bool = False) -> None:
        """Write to the next slice of subscribers, or to all of them."""
        room = self._config.slice
        while self._rounds and (everything or room > 0):
            current = self._rounds[0]
            end = len(current.subscribers) if everything else min(len(current.subscribers), current.position + room)
            members = current.subscribers[current.position : end]
            room -= len(members)
            current.position = end
            if end == len(current.subscribers):
                self._rounds.popleft()
            self._write(current.batches, members)
        if self._rounds_since is not None and not self._rounds:
            self.delay.observe(self._clock.monotonic() - self._rounds_since)
            self._rounds_since = None

    def _write(self, batches: list[Batch], subscribers: list[Subscriber]) -> None:
        for batch in batches:
            data = batch.data
            at_once = self._sends_at_once
            for subscriber in subscribers:
                if subscriber.buffered or (not at_once and subscriber.buffer_size()):
                    self._write_carefully(subscriber, batch)
                    continue
                try:
                    subscriber.write(data)
                except RuntimeError:
                    subscriber.leave()  # as in `Subscriber.send`
                if at_once and subscriber.buffer_size():
                    self._look(subscriber)
            self.delivered += batch.count * len(subscribers)

    # ---- slow readers -------------------------------------------------------------------------

    def _write_carefully(self, subscriber: Subscriber, batch: Batch) -> None:
        self._look(subscriber)
        if subscriber.gap is not None and not subscriber.buffered:
            self._caught_up(subscriber)
        fits = subscriber.buffered <= subscriber.allowance and self.buffered <= self._config.total_buffer
        if subscriber.gap is None and fits:
            subscriber.send(batch.data)
            if self._sends_at_once:
                self._look(subscriber)
            return
        self._drop(subscriber, batch)

    def _look(self, subscriber: Subscriber) -> None:
        """Update the backlog of a subscriber."""
        size = subscriber.buffer_size()
        self.buffered += size - subscriber.buffered
        subscriber.buffered = size
        if size:
            self._behind.add(subscriber)  # so that the sweep notices a backlog that drains while no event comes
        else:
            subscriber.allowance = self._config.subscriber_buffer

    def _drop(self, subscriber: Subscriber, batch: Batch) -> None:
        now = self._clock.monotonic()
        gap = subscriber.gap
        if gap is None:
            gap = subscriber.gap = Gap(now, batch.first_id, batch.last_id)
            self._behind.add(subscriber)
            log.warning("subscriber_behind", token=render(subscriber.token_id), buffered=subscriber.buffered)
        gap.last_id = batch.last_id
        gap.count += batch.count
        self.dropped += batch.count
        self.delivered -= batch.count
        subscriber.dropped += batch.count
        if now - gap.since >= self._config.stalled_after:
            self._give_up(subscriber, now)

    def _caught_up(self, subscriber: Subscriber) -> None:
        gap, subscriber.gap = subscriber.gap, None
        self._behind.discard(subscriber)
        if gap is None or not subscriber.group.encoding.tells_gaps:
            return
        event = EventsDropped(
            origin=origin_of(subscriber.group.scopes),
            reason=DroppedReason.SLOW_SUBSCRIBER,
            count=gap.count,
            first_id=SpanId(gap.first_id),
            last_id=SpanId(gap.last_id),
        )
        subscriber.send(subscriber.group.encoding.encode(self.stamp(event)))
        self._look(subscriber)

    def tell_gap(self, lost: AbstractSet[Topic]) -> None:
        """Tell the readers of topics that events of other nodes may be missing here."""
        for group in list(self._groups.values()):
            if group.encoding.tells_gaps and have_gap(_topics_of(group), lost):
                event = EventsDropped(origin=origin_of(group.scopes), reason=DroppedReason.BUS_LOST)
                self._append([group], self.stamp(event), None)  # None: whatever its filter

    def _give_up(self, subscriber: Subscriber, now: float) -> None:
        log.warning("subscriber_stalled", token=render(subscriber.token_id), dropped=subscriber.dropped)
        text = f"behind for {self._config.stalled_after:g} s, {subscriber.dropped} dropped"
        self._end(subscriber, Ending.BEHIND, text)

    def _end(self, subscriber: Subscriber, ending: Ending, text: str) -> None:
        self.unsubscribe(subscriber)
        subscriber.close(ending, text)

    def stamp(self, event: Event) -> Activity:
        """Make an activity of an event that is meant for one subscriber only."""
        time_ns = self._clock.time_ns()
        return Activity(self._identifiers.next(time_ns), time_ns, event)


def _topics_of(group: Group) -> frozenset[Topic]:
    return topics_of(group.scopes, is_messages=group.key[0] is Stream.MESSAGES)


def origin_of(scopes: Scopes) -> Origin:
    """Return the origin of events about a stream itself: the scope, or what several scopes have in common."""
    if len(scopes) == 1:
        (scope,) = scopes
        return Origin(scope.collection_id, scope.device_id, scope.gateway_id)
    collections = {each.collection_id for each in scopes}
    return Origin(collections.pop()) if len(collections) == 1 else UNATTRIBUTED
