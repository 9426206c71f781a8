"""Following: the topics that subscribers of this node need from other nodes, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from span_events.bus.archive import Position
from span_events.bus.base import EVERYONE, Topic

_LINGER: Final = 60.0
"""Seconds that a topic is kept after its last subscriber: one that connects again finds its past here."""


@dataclass(slots=True)
class Interest:
    """The subscribers of a topic."""

    subscribers: int = 0
    idle_since: float = 0.0
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the topic's events arrive here and its past is in the history."""
    after: Position | None = None
    """The topic's last NATS message in the archive that was shown; None if the topic has to be read from the begin."""
    live_from: int | None = None
    """Identifier of the moment from which on subscribers wait for events that do not arrive yet; None if none waits."""


class Following:
    """The topics that are needed; `missing` and `surplus` say how the subscriptions differ from them."""

    def __init__(self) -> None:
        self._interests: dict[Topic, Interest] = {}
        self.changed = asyncio.Event()
        """Set when a topic is needed that was not before."""

    def __len__(self) -> int:
        """Return the number of topics."""
        return len(self._interests)

    @property
    def interests(self) -> Mapping[Topic, Interest]:
        """The topics with the interest in them."""
        return self._interests

    def add(self, topic: Topic, moment: int) -> None:
        """Note a subscriber, who needs the events from a moment on."""
        interest = self._interest(topic)
        interest.subscribers += 1
        if not self._provider(topic, interest).ready.is_set():
            interest.live_from = interest.live_from or moment

    def remove(self, topic: Topic, now: float) -> None:
        """Note that a subscriber left."""
        interest = self._interests[topic]
        interest.subscribers -= 1
        interest.idle_since = now

    async def ready(self, topic: Topic, now: float) -> None:
        """Wait until a topic is ready; it is followed for `_LINGER` seconds, also without a subscriber."""
        interest = self._interest(topic)
        interest.idle_since = now
        await self._provider(topic, interest).ready.wait()

    def begin(self, topic: Topic) -> None:
        """Note that the events of a topic arrive here and its past is in the history."""
        for interest in self._served_by(topic):
            interest.live_from = None
        if topic in self._interests:
            self._interests[topic].ready.set()

    def live_from(self, topic: Topic) -> int | None:
        """Return the identifier of the moment from which on subscribers wait for events of a topic; None if none do."""
        moments = (interest.live_from for interest in self._served_by(topic))
        return min((each for each in moments if each is not None), default=None)

    def is_unknown(self, topic: Topic) -> bool:
        """Return whether the past of a topic has never been read."""
        provider = self._interests.get(topic._replace(owner=EVERYONE)) or self._interests.get(topic)
        return provider is None or (not provider.ready.is_set() and provider.after is None)

    def pause(self, moment: int) -> None:
        """Note that the connection has ended: subscribers wait for the events of their topics from a moment on."""
        for interest in self._interests.values():
            interest.ready.clear()
            if interest.subscribers:
                interest.live_from = interest.live_from or moment

    def get(self, topic: Topic) -> Interest | None:
        """Return the interest in a topic; None if there is none."""
        return self._interests.get(topic)

    def forget_idle(self, now: float) -> None:
        """Forget topics that have had no subscriber for `_LINGER` seconds."""
        for topic, interest in list(self._interests.items()):
            if not interest.subscribers and now - interest.idle_since >= _LINGER:
                del self._interests[topic]

    def missing(self, open_topics: Iterable[Topic]) -> list[Topic]:
        """Return the topics to subscribe to: those of all collections stand for each of them."""
        already = set(open_topics)
        return [
            topic
            for topic in self._interests
            if topic not in already
            and (topic.owner == EVERYONE or topic._replace(owner=EVERYONE) not in self._interests)
        ]

    def surplus(self, open_topics: Iterable[Topic]) -> list[Topic]:
        """Return the topics that are no longer needed, once those that stand in for them are ready."""
        return [topic for topic in open_topics if self._is_surplus(topic)]

    def _is_surplus(self, topic: Topic) -> bool:
        if topic.owner == EVERYONE:
            return topic not in self._interests and all(
                interest.ready.is_set()
                for other, interest in self._interests.items()
                if other.is_messages == topic.is_messages
            )
        everyone = self._interests.get(topic._replace(owner=EVERYONE))
        return everyone.ready.is_set() if everyone is not None else topic not in self._interests

    def _interest(self, topic: Topic) -> Interest:
        interest = self._interests.get(topic)
        if interest is None:
            interest = self._interests[topic] = Interest()
            self.changed.set()
        return interest

    def _served_by(self, topic: Topic) -> Iterator[Interest]:
        """Yield the interests that the events of a topic serve."""
        for other, interest in self._interests.items():
            if other.is_messages == topic.is_messages and topic.owner in {EVERYONE, other.owner}:
                yield interest

    def _provider(self, topic: Topic, interest: Interest) -> Interest:
        return self._interests.get(topic._replace(owner=EVERYONE), interest)
