"""The inbox: the last upstream messages of each collection, in memory only."""

from __future__ import annotations

from itertools import islice
from typing import Final

from span_events.bounded.rings import Rings
from span_events.events.message import Message

_OVERHEAD: Final = 600
"""Octets of memory per message besides its payload; measured, rounded up."""
_ENTRY: Final = 200
"""Octets of memory per entry of gateway metadata besides its text."""


class Inbox:
    """
    Recent messages per collection.

    Args:
        per_collection: Upper bound of messages per collection.
        octets: Upper bound of memory for all messages together.
    """

    def __init__(self, *, per_collection: int, octets: int) -> None:
        self._rings: Rings[Message] = Rings(per_owner=per_collection, total=octets, cost=_cost)

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
