"""What every bus does."""

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

    Publishing is a plain function: it never awaits and never raises, whoever listens.
    """

    def publish(self, event: Event) -> None:
        """Give the event an identifier and a time, and tell everybody who listens."""

    def forward(self, message: Message) -> None:
        """Tell everybody who listens about an upstream message."""

    def listen(self, *, activities: ActivitySink | None = None, messages: MessageSink | None = None) -> None:
        """Call a sink for each activity or message from now on."""
