"""Outgoing messages of one gateway: a bounded queue, and the messages that HTTP/2 holds for the kernel."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from span_events.fleet.gateways.session import Departure
from span_events.wire.grpc.server import GrpcServer

_BATCH: Final = 16_384
"""Octets of messages joined into one write."""
OVERHEAD: Final = 640
"""Octets of memory for each message beyond its content: about 350 for objects, the rest for the allocator's waste."""


class _Waiting:
    """One waiting message."""

    __slots__ = ("departure", "key", "octets", "since")

    def __init__(self, octets: bytes, key: int | None, departure: Departure, since: float) -> None:
        self.octets = octets
        self.key = key
        self.departure = departure
        self.since = since
        """Monotonic seconds; a message that replaces another keeps the time of the first."""


class Outgoing:
    """
    The messages to one gateway, in order.

    Args:
        messages: Largest number of waiting messages.
        octets: Largest memory of waiting messages, with `OVERHEAD` for each; a single message may be larger.
    """

    __slots__ = ("_by_key", "_departed", "_handing", "_in_hand", "_max_messages", "_max_octets", "_queue", "octets")

    def __init__(self, *, messages: int, octets: int) -> None:
        self._max_messages = messages
        self._max_octets = octets
        self._queue: deque[_Waiting] = deque()
        self._by_key: dict[int, _Waiting] = {}
        self._handing: list[_Waiting] = []  # in HTTP/2, not yet completely in the kernel
        self._in_hand = 0  # octets of these
        self._departed: list[Departure] = []
        self.octets = 0
        """Number of octets that the kernel has not taken yet, with `OVERHEAD` for each message."""

    def __len__(self) -> int:
        return len(self._queue) + len(self._handing)

    @property
    def oldest(self) -> float | None:
        """Time since which the oldest message has waited, monotonic seconds."""
        first = self._handing or self._queue
        return first[0].since if first else None

    def put(self, octets: bytes, key: int | None, departure: Departure, now: float) -> bool:
        """Append a message, or replace the waiting message with its key; False if the message does not fit."""
        replaced = None if key is None else self._by_key.get(key)
        grown = self.octets + len(octets) + (OVERHEAD if replaced is None else -len(replaced.octets))
        if self.octets and grown > self._max_octets:
            return False
        if replaced is not None:
            replaced.octets, replaced.departure = octets, departure
        elif len(self._queue) >= self._max_messages:
            return False
        else:
            item = _Waiting(octets, key, departure, now)
            self._queue.append(item)
            if key is not None:
                self._by_key[key] = item
        self.octets = grown
        return True

    def withdraw(self, key: int) -> bool:
        """Remove the message with a key; False if HTTP/2 already has the message."""
        item = self._by_key.pop(key, None)
        if item is None:
            return False
        self._queue.remove(item)
        self.octets -= len(item.octets) + OVERHEAD
        return True

    def give(self, server: GrpcServer, stream: int) -> None:
        """Give HTTP/2 the messages that fit into one write."""
        while self._queue and server.waiting(stream) < _BATCH:
            item = self._queue.popleft()
            if item.key is not None:
                del self._by_key[item.key]
            server.send(stream, item.octets)
            self._in_hand += len(item.octets) + OVERHEAD
            item.octets = b""  # HTTP/2 has a copy
            self._handing.append(item)

    def confirm(self) -> int:
        """Note that the kernel has taken all messages given to HTTP/2; return their number."""
        count = len(self._handing)
        if count:
            self._departed += [each.departure for each in self._handing]
            self._handing.clear()
            self.octets -= self._in_hand
            self._in_hand = 0
        return count

    def take_departed(self) -> Sequence[Departure]:
        """Return the departures of the messages that the kernel has taken since the last call, in order."""
        if not self._departed:
            return ()
        departed, self._departed = self._departed, []
        return departed

    def clear(self) -> None:
        """Drop all messages."""
        self._queue.clear()
        self._by_key.clear()
        self._handing.clear()
        self._departed.clear()
        self.octets = self._in_hand = 0
