"""One reader of a stream, and the group that it shares encoded events with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Protocol

from span_events.events.filters import Scope, Wish

Framing = Callable[[bytes], bytes]


class Dialect(Protocol):
    """Writes an activity or a message, without the framing of a transport; equal dialects hash equal."""

    def __hash__(self) -> int:
        """Return the hash, by which encodings are shared."""

    def encode(self, item: Any, /) -> bytes:
        """Return the octets of one item."""


class Sink(Protocol):
    """The receiver of a subscriber's octets: a transport, or a stream inside of one."""

    def write(self, data: bytes, /) -> None:
        """Send or buffer whole frames; never blocks."""

    def get_write_buffer_size(self) -> int:
        """Return the octets that wait for the reader."""


class Ending(Enum):
    """Reasons for which the server ends a stream; each kind of stream has its own code for that."""

    BEHIND = auto()
    """The reader stayed behind, see ``fanout.stalled_after``."""
    REVOKED = auto()
    """The token was deleted."""
    SHUTDOWN = auto()


Close = Callable[[Ending, str], None]
"""Ends a stream of which the subscriber is already gone, with a text for people; must not block."""


def unchanged(octets: bytes) -> bytes:
    """Leave octets as they are: the framing of a transport that needs none."""
    return octets


@dataclass(frozen=True, eq=False, slots=True)
class Encoding:
    """
    A function from an item to octets on the wire; `encoding` interns it, so that groups compare it by identity.

    Args:
        frame: Frames one item.
        wrap: Wraps the joined frames of one write, as a chunk of HTTP for example.
        tells_gaps: True if the stream reports gaps by an `eventsDropped` event.
        keepalive: Octets that are sent on a silent stream; None for none.
        silence: Seconds of silence before ``keepalive``.
    """

    dialect: Dialect
    frame: Framing
    tells_gaps: bool
    keepalive: bytes | None
    silence: float
    wrap: Framing = unchanged

    def __post_init__(self) -> None:
        object.__setattr__(self, "dialect", _one_of_equals(self.dialect))

    def encode(self, item: object) -> bytes:
        """Write an item as the octets that go to the sink alone."""
        return self.wrap(self.frame(self.dialect.encode(item)))


@lru_cache(maxsize=256)
def _one_of_equals(dialect: Dialect) -> Dialect:
    """Return the same object for equal dialects, so that the hub compares them by identity."""
    return dialect


@lru_cache(maxsize=256)
def encoding(
    dialect: Dialect,
    frame: Framing,
    wrap: Framing = unchanged,
    *,
    tells_gaps: bool,
    keepalive: bytes | None = None,
    silence: float = 0.0,
) -> Encoding:
    """Return the one encoding that has these properties."""
    framed = None if keepalive is None else wrap(frame(keepalive))
    return Encoding(dialect, frame, tells_gaps, framed, silence, wrap)


class Stream(Enum):
    """The kinds of streams: activity events, or upstream messages."""

    ACTIVITIES = auto()
    MESSAGES = auto()


Scopes = tuple[Scope, ...]
"""The scopes of a stream: an event in any of them is in the stream, once."""
GroupKey = tuple[Stream, Scopes, Wish, Encoding]
"""Subscribers that agree in all of these get the same octets."""


@dataclass(slots=True)
class Batch:
    """Consecutive frames that go out with one write."""

    data: bytes
    count: int
    first_id: int
    last_id: int


class Group:
    """Subscribers that get exactly the same octets."""

    __slots__ = (
        "encoding",
        "first_id",
        "frames",
        "key",
        "last_id",
        "last_write",
        "octets",
        "pending",
        "scopes",
        "sealed",
        "subscribers",
        "wish",
        "written",
    )

    def __init__(self, key: GroupKey, now: float) -> None:
        self.key = key
        _, self.scopes, self.wish, self.encoding = key
        self.subscribers: list[Subscriber] = []
        self.frames: list[bytes] = []
        self.octets = 0
        self.first_id = 0
        self.last_id = 0
        self.sealed: list[Batch] = []
        self.pending = False
        """True while the hub lists this group for the next flush."""
        self.last_write = now
        self.written = 0
        """Number of events written to the group so far."""

    def append(self, frame: bytes, identifier: int, max_write: int) -> None:
        """Append a frame to the next batch."""
        if self.octets + len(frame) > max_write and self.frames:
            self.seal()
        if not self.frames:
            self.first_id = identifier
        self.last_id = identifier
        self.frames.append(frame)
        self.octets += len(frame)

    def seal(self) -> None:
        """Make a batch of the frames so far."""
        if self.frames:
            data = self.encoding.wrap(b"".join(self.frames))
            self.sealed.append(Batch(data, len(self.frames), self.first_id, self.last_id))
            self.frames.clear()
            self.octets = 0

    def take(self) -> list[Batch]:
        """Return everything that waits, as batches."""
        self.seal()
        batches, self.sealed = self.sealed, []
        self.pending = False
        return batches


@dataclass(slots=True)
class Gap:
    """The events that a subscriber missed in the current episode."""

    since: float
    first_id: int
    last_id: int
    count: int = 0


class Subscriber:
    """
    One reader.

    Args:
        sink: Where its octets go; the hub writes whole frames only.
    """

    __slots__ = (
        "allowance",
        "buffer_size",
        "buffered",
        "close",
        "dropped",
        "gap",
        "group",
        "joined",
        "sink",
        "token_id",
        "write",
    )

    def __init__(
        self,
        sink: Sink,
        group: Group,
        *,
        token_id: int,
        close: Close,
        allowance: int,
    ) -> None:
        self.sink = sink
        self.write: Callable[[bytes], None] = sink.write
        self.buffer_size: Callable[[], int] = sink.get_write_buffer_size
        self.group = group
        self.token_id = token_id
        self.close = close
        self.allowance = allowance
        """Octets that may wait now: the limit, more while a replay drains."""
        self.buffered = 0
        """Octets that waited when the hub last looked; part of the hub's total."""
        self.gap: Gap | None = None
        """Set while events are dropped for this subscriber."""
        self.dropped = 0
        """Events dropped in all."""
        self.joined = group.written
        """Events that were written to the group before."""

    @property
    def delivered(self) -> int:
        """Number of events handed to the socket, without those of the past."""
        return self.group.written - self.joined - self.dropped

    def send(self, data: bytes) -> None:
        """Write octets, wherever the client is."""
        try:
            self.write(data)
        except RuntimeError:  # uvloop refuses when the connection is lost and the stream does not know yet
            self.leave()

    def leave(self) -> None:
        """Discard all further writes for this subscriber."""
        self.write = _nowhere
        self.buffer_size = _nothing


def _nowhere(data: bytes) -> None:
    """Discard octets."""


def _nothing() -> int:
    """Return 0: a discarding writer has no backlog."""
    return 0
