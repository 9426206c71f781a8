"""The interface of every bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from span_events.events.activity import Activity, Event
from span_events.events.message import Message

ActivitySink = Callable[[Activity], None]
MessageSink = Callable[[Message], None]


class Bus(Protocol):
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

    def listen(self, *, activities: ActivitySink | None = None, messages: MessageSink | None = None) -> None:
        """Call a sink for each activity or message from now on."""
