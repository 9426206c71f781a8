"""The interface of every bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple, Protocol

from span_events.errors import SpanEventsError
from span_events.events.activity import Activity, Event
from span_events.events.filters import Scope
from span_events.events.message import Message
from span_events.ids import render

ActivitySink = Callable[[Activity], None]
MessageSink = Callable[[Message], None]
Handler = Callable[[bytes], Awaitable[bytes]]
"""Answers the requests of other nodes."""

EVERYONE: Final = "*"
"""The collections all together, and nobody's events."""
NOBODY: Final = "none"
"""Events of no collection."""


class NobodyServes(SpanEventsError):
    """No node serves this subject now."""

    code = "nobody_serves"


class NoAnswer(SpanEventsError):
    """The answer of the node that serves this subject did not come in time."""

    code = "no_answer"


class Topic(NamedTuple):
    """The events or the messages of a collection, which a subscriber needs of other nodes."""

    is_messages: bool
    owner: str
    """Id of a collection as Span writes it, `NOBODY` or `EVERYONE`."""


def owner_of(collection_id: int | None) -> str:
    """Return the name of a collection, or of none, in a subject."""
    return NOBODY if collection_id is None else render(collection_id)


def topics_of(scopes: Iterable[Scope], *, is_messages: bool = False) -> frozenset[Topic]:
    """Return the topics that contain the events or messages of scopes."""
    owners = set()
    for scope in scopes:
        owners.add(EVERYONE if scope.collection_id is None else owner_of(scope.collection_id))
        if scope.unattributed:
            owners.add(NOBODY)
    return frozenset(Topic(is_messages, owner) for owner in owners)


def have_gap(topics: Iterable[Topic], lost: AbstractSet[Topic]) -> bool:
    """Return whether a subscriber of topics may miss events if those of other topics were lost."""
    return any(
        not lost.isdisjoint((each, each._replace(owner=EVERYONE)))
        or (each.owner == EVERYONE and any(other.is_messages == each.is_messages for other in lost))
        for each in topics
    )


class Reach(Protocol):
    """Brings the events of other nodes here while a subscriber here needs them."""

    def follow(self, topics: Iterable[Topic]) -> None:
        """Note a subscriber of topics."""

    def unfollow(self, topics: Iterable[Topic]) -> None:
        """Note that it left."""

    async def caught_up(self, topics: Iterable[Topic]) -> None:
        """Wait until events of topics arrive here and the history has their past; a bounded time."""


class Bus(Reach, Protocol):
    """
    Carries events and upstream messages, at most once.

    Publishing is a plain function: it never awaits, and a failing sink never raises into the publisher.
    """

    def new_id(self, time_ns: int | None = None) -> int:
        """
        Return an identifier that rises with time: of an entity, a message, or the cause of events.

        Args:
            time_ns: Time that it stands for, nanoseconds since 1970; None is now.
        """

    def publish(self, event: Event, *, time_ns: int | None = None) -> None:
        """
        Give the event an identifier and a time, and pass the activity to all sinks.

        Args:
            time_ns: When it happened elsewhere, nanoseconds since 1970; None is now, and a later time, too.
        """

    def forward(self, message: Message) -> None:
        """Pass an upstream message to all sinks."""

    def listen(
        self,
        *,
        activities: ActivitySink | None = None,
        messages: MessageSink | None = None,
        everywhere: bool = False,
    ) -> None:
        """
        Call a sink for each activity or message from now on.

        Args:
            everywhere: Also for those of other nodes, as far as subscribers here follow them.
        """

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        """
        Answer the requests to a subject, one after the other, until the returned function is called.

        Args:
            subject: Words with dots between them, such as ``gateway.17kl14hm46h4c2``.
        """

    async def ask(self, subject: str, data: bytes, within: float) -> bytes:
        """
        Send a request to the node that serves a subject, and return its answer.

        Args:
            within: Seconds to wait for the answer.

        Raises:
            NobodyServes: No node serves it.
            NoAnswer: The answer did not come in time, or the bus does not reach other nodes now.
        """
