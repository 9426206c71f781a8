"""The inbox: the last upstream messages of each collection, in memory only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from span_events.bounded.losses import Losses
from span_events.bounded.rings import Rings
from span_events.events.filters import Scope
from span_events.events.message import Message

_OVERHEAD: Final = 600
"""Octets of memory per message besides its payload; measured, rounded up."""
_REPLAY: Final = 4 << 20
"""Octets of messages in memory that one replay writes at most: all of it waits for its reader."""
_ENTRY: Final = 200
"""Octets of memory per entry of gateway metadata besides its text."""


@dataclass(frozen=True, slots=True)
class PastMessages:
    """Past messages in the order of their identifiers."""

    messages: tuple[Message, ...]
    lost_through: int | None = None
    """The last message that is missing between the point that was asked for and these; None if none is."""


class Inbox:
    """
    Recent messages per collection.

    Args:
        per_collection: Upper bound of messages per collection.
        octets: Upper bound of memory for all messages together.
        born: Identifier of the moment when this memory began.
    """

    def __init__(self, *, per_collection: int, octets: int, born: int = 0) -> None:
        self._losses = Losses(born)
        self._rings: Rings[Message] = Rings(
            per_owner=per_collection,
            total=octets,
            cost=_cost,
            lost=lambda owner, message: self._losses.note(owner, message.id),
        )

    @property
    def octets(self) -> int:
        """Octets of memory that the stored messages use."""
        return self._rings.cost

    def append(self, message: Message) -> None:
        """Store a message."""
        self._rings.append(message.origin.collection_id, message)

    def find(self, collection_id: int, message_id: int) -> Message | None:
        """Return a message; the newest is found at once."""
        for ring in self._rings.of(collection_id):
            for message in reversed(ring):
                if message.id <= message_id:
                    return message if message.id == message_id else None
        return None

    def tail(self, scope: Scope, count: int, *, until: int | None = None) -> PastMessages:
        """
        Return the last messages of a collection or of one of its devices, fewer if they are large.

        Args:
            until: Identifier of the last one that may be among them.
        """
        messages, _ = self._newest(scope, count, after=0, until=until)
        return PastMessages(messages)

    def after(self, scope: Scope, identifier: int, *, until: int | None = None) -> PastMessages:
        """Return the messages that are younger than an identifier; of large ones, the newest."""
        messages, cut = self._newest(scope, None, after=identifier, until=until)
        lost = max(cut, self._losses.of(scope.collection_id))
        return PastMessages(messages, lost_through=lost if identifier < lost else None)

    def _newest(
        self, scope: Scope, count: int | None, *, after: int, until: int | None
    ) -> tuple[tuple[Message, ...], int]:
        """Return the newest messages, in order, and the identifier of the one that was too much, or 0."""
        found: list[Message] = []
        octets = 0
        for ring in self._rings.of(scope.collection_id):
            for message in reversed(ring):
                if message.id <= after or (count is not None and len(found) >= count):
                    break
                if (until is not None and message.id > until) or not scope.covers(message.origin):
                    continue
                octets += _cost(message)
                if octets > _REPLAY and found:
                    return tuple(reversed(found)), message.id
                found.append(message)
        return tuple(reversed(found)), 0

    def list(
        self,
        collection_id: int,
        *,
        device_id: int | None = None,
        limit: int,
        before_id: int | None = None,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> list[Message]:
        """
        Return messages of a collection or of one of its devices, newest first.

        Args:
            before_id: Only messages with a smaller id.
            start_ms: Only messages received at this time or later, Unix milliseconds.
            end_ms: Only messages received before this time, Unix milliseconds.
        """
        matching = (
            message
            for ring in self._rings.of(collection_id)
            for message in reversed(ring)
            if (device_id is None or message.origin.device_id == device_id)
            and (before_id is None or message.id < before_id)
            and (start_ms is None or message.received_ns >= start_ms * 1_000_000)
            and (end_ms is None or message.received_ns < end_ms * 1_000_000)
        )
        return list(islice(matching, limit))


def _cost(message: Message) -> int:
    cost = len(message.payload) + _OVERHEAD
    for name, value in message.gateway_metadata:
        cost += len(name) + len(value) + _ENTRY
    return cost
