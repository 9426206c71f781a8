"""
Arrivals: the events and messages of other nodes, as far as subscribers of this node need them.

Where NATS has an archive, a topic's events come from there: the past fills the history of this node, the rest is shown.
Without one they come as they are published, and the history begins with the first subscriber.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from span_events.bus import wire
from span_events.bus.archive import ALARMS, BEGIN, Archive, Flow, NoArchive, Source
from span_events.bus.base import EVERYONE, NOBODY, Topic
from span_events.bus.following import Following, Interest
from span_events.bus.link import Link, settle
from span_events.bus.senders import Senders
from span_events.clock import Clock
from span_events.events.activity import Activity
from span_events.events.history import Past
from span_events.events.message import Message
from span_events.ids import first_at, parse
from span_events.log import get_logger

log = get_logger("bus")

_LATE_MS: Final = 2_000
"""Milliseconds that a subscription may take; events that a subscriber misses meanwhile are not reported as a gap."""
_ALARMS: Final = 2.0
"""Seconds to read the past warnings and errors of a topic."""
_REMEMBERED = 4_096
"""Identifiers of arrived events that are remembered at least, so that none is shown twice."""


class Arrivals:
    """
    The subscriptions of one connection after the other.

    Args:
        senders: Tells which NATS messages are of this node: they are skipped.
        limit: NATS messages that the archive keeps of one subject.
        new_id: Returns the identifier of this moment.
        show: Called with each activity of another node.
        show_message: Called with each message of another node.
        fill: Called with the past of a topic.
        on_gap: Called with a topic of which events may be missing here: the archive discarded them before this node
            read them, or a subscription began after its subscriber.
    """

    def __init__(
        self,
        following: Following,
        archive: Archive,
        clock: Clock,
        *,
        senders: Senders,
        limit: int,
        new_id: Callable[[], int],
        show: Callable[[Activity], None],
        show_message: Callable[[Message], None],
        fill: Callable[[Past], None],
        on_gap: Callable[[Topic], None],
    ) -> None:
        self._on_gap = on_gap
        self._following = following
        self._archive = archive
        self._clock = clock
        self._senders = senders
        self._limit = limit
        self._new_id, self._show, self._show_message, self._fill = new_id, show, show_message, fill
        self._sources: dict[Topic, Source] = {}
        self._reader = wire.Reader()
        self._seen = _Seen()
        self.received = 0
        """Events and messages of other nodes that were shown."""

    @property
    def skipped(self) -> dict[str, int]:
        """Events and messages that were skipped, by cause."""
        return self._reader.skipped | {"foreign": self._senders.foreign}

    @property
    def differ(self) -> bool:
        """Whether the subscriptions are not those that are needed."""
        return bool(self._following.missing(self._sources) or self._following.surplus(self._sources))

    def look(self, now: float) -> None:
        """Break the flows whose consumers have fallen silent; `reconcile` makes them again."""
        for source in self._sources.values():
            if source.flow is not None:
                source.flow.look(now)

    async def open(self, client: Client) -> set[Topic]:
        """
        Open the archive on a new connection.

        Returns:
            The topics that may have missed something: those of messages, which the archive does not hold, and all if it
            was made anew.
        """
        self._sources.clear()
        continues = await self._archive.open(client)
        for interest in self._following.interests.values():
            interest.ready.clear()
        return {topic for topic in self._following.interests if topic.is_messages or not continues}

    def topics_by(self, subscription: Subscription) -> set[Topic]:
        """Return the topic that a subscription feeds; all topics while the past of its topic is being read."""
        found = {topic for topic, source in self._sources.items() if source.subscription is subscription}
        return found or set(self._following.interests)

    def close(self) -> None:
        """Remember the last message of each topic, and mark all topics as not arriving: the connection has ended."""
        for topic, source in self._sources.items():
            self._note_place(topic, source)
        self._sources.clear()
        self._following.pause(first_at(self._clock.time_ns() // 1_000_000))

    async def reconcile(self, link: Link, client: Client) -> None:
        """Subscribe to the topics that are needed, then leave those that are not."""
        for topic, source in list(self._sources.items()):
            if source.flow is not None and source.flow.is_broken:
                if source.flow.is_silent:
                    self._on_gap(topic)
                await self._leave(topic)
            elif source.flow is None and not topic.is_messages and not self._archive.fault:
                await self._change_over(link, client, topic)
        at_once = []
        for topic in self._following.missing(self._sources):
            interest = self._following.get(topic)
            if interest is None:  # forgotten during an await
                continue
            if topic.is_messages or self._archive.fault or not await self._read(link, client, topic, interest):
                receive = self._receive_messages if topic.is_messages else self._receive
                self._sources[topic] = Source(await link.subscribe(client, subject_of(topic), receive))
                at_once.append((topic, interest))
        if at_once:
            await settle(client)
        for topic, interest in at_once:
            if not topic.is_messages:  # earlier events of other nodes are unknown
                self.note_gap(topic)
            if interest.after is not None or self._is_late(topic):
                self._on_gap(topic)
            interest.after = None  # the archive does not feed it
            self._following.begin(topic)
        for topic in self._following.surplus(list(self._sources)):
            await self._leave(topic)
            if (left := self._following.get(topic)) is not None:
                left.after = None  # another topic stands in for it, and this one begins anew after that

    async def _change_over(self, link: Link, client: Client, topic: Topic) -> None:
        """Take a topic from the archive, which was not there before; events that both bring are shown once."""
        interest = self._following.get(topic)
        source = self._sources[topic]
        if interest is not None:
            interest.after = None
            if await self._read(link, client, topic, interest):
                await source.subscription.unsubscribe()

    def _is_late(self, topic: Topic) -> bool:
        """Return whether a subscriber has waited for a topic for seconds."""
        live_from = self._following.live_from(topic)
        return live_from is not None and live_from < first_at(self._clock.time_ns() // 1_000_000 - _LATE_MS)

    def note_gap(self, topic: Topic, since: int | None = None) -> None:
        """Let the history of a topic begin at a moment; None is now."""
        moment = self._new_id() if since is None else since
        self._fill(Past((), _owner_of(topic), of_everyone=topic.owner == EVERYONE, since=moment))

    async def _leave(self, topic: Topic) -> None:
        source = self._sources.pop(topic)
        self._note_place(topic, source)
        await source.subscription.unsubscribe()
        if (interest := self._following.get(topic)) is not None:
            interest.ready.clear()

    def _note_place(self, topic: Topic, source: Source) -> None:
        interest = self._following.get(topic)
        if interest is not None and source.flow is not None and interest.ready.is_set():
            interest.after = source.flow.last

    # ---- as they are published ----------------------------------------------------------------

    async def _receive(self, message: Msg) -> None:
        is_own, lines = self._senders.unpack(message.data)
        if not is_own:
            self._show_all(self._reader.activities(lines))

    async def _receive_messages(self, message: Msg) -> None:
        is_own, lines = self._senders.unpack(message.data)
        if is_own:
            return
        for each in self._reader.messages(lines):
            if self._seen.is_new(each.id):
                self.received += 1
                self._show_message(each)

    def _show_all(self, activities: Iterable[Activity]) -> None:
        for activity in activities:
            if self._seen.is_new(activity.id):
                self.received += 1
                self._show(activity)

    # ---- from the archive ---------------------------------------------------------------------

    async def _read(self, link: Link, client: Client, topic: Topic, interest: Interest) -> bool:
        """Begin to read a topic from the archive; return False, with a reason in its `fault`, if it refuses."""
        past: list[Activity] = []
        alarms: list[Activity] = []
        messages = Counter[int | None]()
        after = interest.after

        def take(data: bytes, is_past: bool) -> None:
            is_own, lines = self._senders.unpack(data, is_past=is_past)
            if is_past:
                activities = list(self._reader.activities(lines))
                past.extend(activities)
                live_from = self._following.live_from(topic)
                if live_from is not None and not is_own:
                    self._show_all(each for each in activities if each.id >= live_from)
                messages.update(each.event.origin.collection_id for each in activities[:1])
            elif not is_own:
                self._show_all(self._reader.activities(lines))

        def filled() -> None:
            if after is None:
                self._fill_from(topic, past, alarms, messages, state.since)
            self._following.begin(topic)

        subscription = None
        try:
            if after is None:
                alarms = await self._read_alarms(link, client, topic)
            state = await self._archive.look(client)
            live_from = interest.live_from
            if after is not None and not state.follows(after):
                after = BEGIN  # all events of another stream are younger than those that were shown
                self.note_gap(topic, state.since)
                self._on_gap(topic)
            elif after is not None and live_from is not None and state.since > live_from:  # it discarded younger events
                self._on_gap(topic)
            flow = Flow(
                client,
                self._clock,
                after=after,
                last=state.last,
                take=take,
                filled=filled,
                broken=self._following.changed.set,
                behind=partial(self._on_gap, topic),
                limit=None if topic.owner == EVERYONE else self._limit,
            )
            inbox = client.new_inbox()
            subscription = await link.subscribe(client, inbox, flow.receive)
            await flow.start(inbox, subject_of(topic))
        except NoArchive as exc:
            self._archive.fault = str(exc)
            if subscription is not None:
                await subscription.unsubscribe()
            return False
        self._sources[topic] = Source(subscription, flow)
        return True

    async def _read_alarms(self, link: Link, client: Client, topic: Topic) -> list[Activity]:
        """
        Read the warnings and errors of a topic from their own stream, for two seconds at most.

        Raises:
            NoArchive: JetStream refuses that or does not answer.
        """
        alarms: list[Activity] = []
        ended = asyncio.Event()

        def take(data: bytes, is_past: bool) -> None:
            alarms.extend(self._reader.activities(self._senders.unpack(data, is_past=True)[1]))

        flow = Flow(
            client,
            self._clock,
            stream=ALARMS,
            after=None,
            take=take,
            filled=ended.set,
            broken=ended.set,
            behind=ended.set,
            limit=None,
        )
        inbox = client.new_inbox()
        subscription = await link.subscribe(client, inbox, flow.receive)
        try:
            await flow.start(inbox, f"span.alarms.{topic.owner}")
            async with asyncio.timeout(_ALARMS):
                await ended.wait()
        except TimeoutError:
            log.warning("history_lacks_alarms", owner=topic.owner, read=len(alarms))
        finally:
            await subscription.unsubscribe()
        return alarms

    def _fill_from(
        self, topic: Topic, past: list[Activity], alarms: list[Activity], messages: Counter[int | None], since: int
    ) -> None:
        """Give the past of a topic to the history; of an owner with as many as the archive keeps, more may be gone."""
        full = {owner for owner, count in messages.items() if count >= self._limit}
        cut: dict[int | None, int] = {}
        for each in past:
            owner = each.event.origin.collection_id
            if owner in full:
                cut[owner] = min(each.id - 1, cut.get(owner, each.id))
        known = {each.id for each in past}
        older = [each for each in alarms if each.id not in known]  # which routine has pushed out
        self._fill(Past([*older, *past], _owner_of(topic), of_everyone=topic.owner == EVERYONE, since=since, cut=cut))
        past.clear()


class _Seen:
    """The identifiers that arrived lately: two generations, so that forgetting costs nothing."""

    def __init__(self) -> None:
        self._young: set[int] = set()
        self._old: set[int] = set()

    def is_new(self, identifier: int) -> bool:
        """Return whether an identifier has not arrived lately, and remember it."""
        if identifier in self._young or identifier in self._old:
            return False
        self._young.add(identifier)
        if len(self._young) >= _REMEMBERED:
            self._young, self._old = set(), self._young
        return True


def subject_of(topic: Topic) -> str:
    """Return the subject that a node subscribes to for a topic."""
    return f"span.messages.{topic.owner}" if topic.is_messages else f"span.activity.{topic.owner}.*"


def _owner_of(topic: Topic) -> int | None:
    return None if topic.owner in {NOBODY, EVERYONE} else parse(topic.owner)
