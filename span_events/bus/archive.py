"""
The archive: the recent events of all nodes, in JetStream streams that NATS keeps in memory.

One stream takes everything that nodes publish. A node reads a collection from past to live with one consumer of it,
whose messages are numbered: a gap shows, and the consumer is made again from the last number on. A second stream takes
a copy of warnings and errors, so that routine cannot push them out; a node reads it for the past only.

A stream ends with the memory of its server, also while the connections to other servers of a NATS cluster stand. The
next one begins with number 1, and NATS may say that it was created when the first one was: numbers and times tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import BadRequestError, ServiceUnavailableError

from span_events.clock import Clock
from span_events.config import EventsConfig
from span_events.ids import first_at
from span_events.log import get_logger

log = get_logger("bus")

STREAM: Final = "span-events"
"""Name in NATS of the stream of all events."""
ALARMS: Final = "span-events-alarms"
"""Name in NATS of the copy of warnings and errors."""
ELECTED: Final = f"$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED.{STREAM}"
"""Subject on which a cluster tells that another server leads the stream."""
_HEARTBEAT: Final = 5.0
"""Seconds between signs of life of a silent consumer."""
_MISSED: Final = 3
"""Heartbeats that are missing before a consumer is made again."""
_REQUEST: Final = 2.0
"""Seconds for a reply of JetStream."""
_SHARE: Final = 4
"""Warnings and errors have a quarter of the octets besides, as in a node's own history."""
_BIRTH: Final = 10.0
"""Seconds after its creation in which the first message of a stream comes: the node that made it sends one at once."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NAME_IN_USE: Final = 10_058
"""JetStream's code for a stream that is there with another configuration."""
_HINT: Final = (
    "Give NATS JetStream with a max_memory_store of at least 1.25 times events.history_octets, "
    "and let the login in bus.credentials_file publish to $JS.API.>."
)


class NoArchive(Exception):
    """JetStream is off, refuses the stream, or does not answer; the text says which."""


class Position(NamedTuple):
    """Number and time of a message in a stream."""

    number: int
    time_us: int
    """When NATS stored it, microseconds since 1970."""


BEGIN: Final = Position(0, 0)
"""Before the first message of any stream."""


@dataclass(frozen=True, slots=True)
class State:
    """The stream at one moment."""

    since: int
    """Identifier of the moment from which on nothing was discarded, unless a subject had too many events."""
    first: Position
    last: Position

    def follows(self, known: Position) -> bool:
        """Return whether the stream has held a message; a stream that was made anew is shorter, or begins later."""
        began_later = self.first.number <= known.number and self.first.time_us > known.time_us
        return known.number <= self.last.number and not began_later


class Archive:
    """
    Creates the two streams in JetStream, and looks at them; used by one connection after the other.

    Args:
        subjects: Subjects of all events.
        alarms: Subjects of the copies of warnings and errors.
        birth: One of the subjects, without events: the first message of a stream goes there.
        copies: Servers of a cluster that hold each stream.
    """

    def __init__(
        self, config: EventsConfig, clock: Clock, *, subjects: str, alarms: str, birth: str, copies: int
    ) -> None:
        self._copies = copies
        self._config = config
        self._clock = clock
        self._subjects = subjects
        self._alarms = alarms
        self._birth = birth
        self._known: Position | None = None
        """The last message when this node looked."""
        self.fault = "not asked yet"
        """Reason for which there is no archive; empty if there is."""

    async def open(self, client: Client) -> bool:
        """
        Create the streams, or update their limits; a failure goes into `fault`.

        Returns:
            Whether the streams are those of the last connection; False after a failure.
        """
        octets = self._config.history_octets
        streams = (
            self._stream(name=STREAM, max_bytes=octets, subjects=[self._subjects]),
            self._stream(name=ALARMS, max_bytes=max(1, octets // _SHARE), subjects=[self._alarms]),
        )
        before = self._known
        try:
            with _replies():
                jetstream = client.jetstream(timeout=_REQUEST)
                for stream in streams:
                    try:
                        await jetstream.add_stream(stream)
                    except BadRequestError as exc:
                        if exc.err_code != _NAME_IN_USE:
                            raise
                        await jetstream.update_stream(stream)  # it is there, with other limits
            state = await self.look(client)
            if not state.last.number:
                await client.publish(self._birth)
                state = await self.look(client)
        except NoArchive as exc:
            if not self.fault or self.fault == "not asked yet":
                log.warning("history_of_this_node_only", why=str(exc), hint=_HINT)
            self.fault = str(exc)
            return False
        self.fault = ""
        return before is not None and state.follows(before)

    def _stream(self, **own: Any) -> StreamConfig:
        return StreamConfig(
            storage=StorageType.MEMORY,
            discard=DiscardPolicy.OLD,
            max_age=self._config.history_age,
            max_msgs_per_subject=self._config.history_per_collection,
            num_replicas=self._copies,
            no_ack=True,  # nodes do not wait for it
            **own,
        )

    async def look(self, client: Client) -> State:
        """
        Return the state of the stream of all events, and remember its last message for the next `open`.

        Raises:
            NoArchive: JetStream does not answer.
        """
        with _replies():
            reply = await client.request(f"$JS.API.STREAM.INFO.{STREAM}", timeout=_REQUEST)
            found: dict[str, Any] = orjson.loads(reply.data)
            if "error" in found:
                raise NoArchive(str(found["error"].get("description")))
            state = found["state"]
            first = Position(int(state["first_seq"]), _microseconds(state["first_ts"]))
            last = self._known = Position(int(state["last_seq"]), _microseconds(state["last_ts"]))
            created = _microseconds(found["created"])
            if state["messages"]:
                is_whole = first.number == 1 and first.time_us - created <= _BIRTH * 1_000_000
                since = created if is_whole else first.time_us
            else:
                now = self._clock.time_ns() // 1000
                since = max(created, now - int(self._config.history_age * 1_000_000) if last.number else now)
            return State(first_at(since // 1000), first, last)


class Flow:
    """
    One consumer: the past of some subjects, then their events as they come.

    Args:
        stream: Name of the stream.
        after: The last message that is known; None reads from the begin.
        last: Last message of the stream; the consumer goes on after it if the subjects have no past.
        take: Called with each message, and whether it is of the past.
        filled: Called once, when the past has arrived.
        behind: Called when the archive has discarded messages before they were read, or may have.
        limit: Number of messages that the archive keeps of a subject; None if the consumer reads all
            subjects of the stream.
        broken: Called when messages are missing.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        *,
        stream: str = STREAM,
        after: Position | None,
        last: Position = BEGIN,
        take: Callable[[bytes, bool], None],
        filled: Callable[[], None],
        broken: Callable[[], None],
        behind: Callable[[], None],
        limit: int | None,
    ) -> None:
        self._behind, self._limit = behind, limit
        self._client = client
        self._clock = clock
        self._stream = stream
        self._take, self._filled, self._broken = take, filled, broken
        self._has_past = after is None
        self.last = last if after is None else after
        """The last message that was read."""
        self._delivered = 0
        self._pending: int | None = None
        """Messages of the past that have not arrived; None until JetStream has said how many there are."""
        self.messages = 0
        """Messages of the past."""
        self._heard = clock.monotonic()
        self.is_broken = False
        self.is_silent = False
        """Whether it is broken for lack of signs of life: the stream may have been away, and got no events then."""

    async def start(self, inbox: str, subject: str) -> None:
        """
        Make the consumer, which sends to an inbox that `receive` is subscribed to; without a past, call ``filled``.

        Raises:
            NoArchive: JetStream refuses it or does not answer.
        """
        start: dict[str, Any] = {"deliver_policy": DeliverPolicy.ALL}
        if not self._has_past:
            start = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": self.last.number + 1}
        consumer = ConsumerConfig(
            deliver_subject=inbox,
            filter_subject=subject,
            ack_policy=AckPolicy.NONE,
            max_deliver=1,
            flow_control=True,
            idle_heartbeat=_HEARTBEAT,
            mem_storage=True,
            num_replicas=1,
            **start,
        )
        with _replies():
            info = await self._client.jetstream(timeout=_REQUEST).add_consumer(self._stream, consumer)
            delivered = info.delivered
            self.messages = (info.num_pending or 0) + (delivered.consumer_seq if delivered else 0)
        self._pending = self.messages - self._delivered
        if self._pending <= 0:
            self._filled()

    async def receive(self, message: Msg) -> None:
        """
        Pass a message to ``take``, or answer one of JetStream's own.

        Calls ``broken`` if a message before this one is missing, and ``behind`` if the archive discarded some, or may
        have.
        """
        self._heard = self._clock.monotonic()
        if self.is_broken:
            return
        if message.headers and "Status" in message.headers:
            await self._control(message.reply, message.headers)
            return
        # $JS.ACK.STREAM.CONSUMER.…, or with a domain and an account before the stream
        tokens = message.reply.split(".")
        stream_seq, consumer_seq, time_ns, pending = tokens[5:9] if len(tokens) == 9 else tokens[7:11]
        if int(consumer_seq) != self._delivered + 1:
            self._break()
            return
        self._delivered += 1
        before, self.last = self.last, Position(int(stream_seq), int(time_ns) // 1000)
        is_past = self._has_past and (self._pending is None or self._pending > 0)
        self._take(message.data, is_past)
        self._count_down(1 if int(pending) else None)
        if is_past:
            return
        if int(pending) >= self._limit if self._limit is not None else before.number < self.last.number - 1:
            self._behind()

    def _count_down(self, by: int | None) -> None:
        """Note that a message of the past has arrived, or that none is left, as old ones expire meanwhile."""
        if self._pending is not None and self._pending > 0:
            self._pending = 0 if by is None else self._pending - by
            if not self._pending:
                self._filled()

    def look(self, now: float) -> None:
        """Call ``broken`` if the consumer has sent no sign of life for three heartbeats."""
        if not self.is_broken and now - self._heard > _MISSED * _HEARTBEAT:
            self.is_silent = True
            self._break()

    async def _control(self, reply: str, headers: dict[str, str]) -> None:
        """Answer JetStream's flow control; a heartbeat shows that messages are missing, or that the past has ended."""
        answer = reply or headers.get("Nats-Consumer-Stalled", "")
        if answer:
            await self._client.publish(answer)
        if "Nats-Last-Consumer" not in headers:
            return
        if int(headers["Nats-Last-Consumer"]) > self._delivered:
            self._break()
        else:
            self._count_down(None)  # a heartbeat: nothing is left to send

    def _break(self) -> None:
        self.is_broken = True
        self._broken()


@dataclass(slots=True)
class Source:
    """The source of a topic: a subscription, and a flow if the archive feeds it."""

    subscription: Subscription
    flow: Flow | None = None


def _microseconds(text: str) -> int:
    """Read a time as JetStream writes it; as a float it would not be exact."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


@contextmanager
def _replies() -> Iterator[None]:
    """Translate a missing, refusing or damaged reply of JetStream into `NoArchive`."""
    try:
        yield
    except ServiceUnavailableError as exc:
        raise NoArchive(getattr(exc, "description", None) or "JetStream is off") from exc
    except Error as exc:
        raise NoArchive(getattr(exc, "description", None) or str(exc) or type(exc).__name__) from exc
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise NoArchive(f"a reply of JetStream is malformed: {exc!r}") from exc
