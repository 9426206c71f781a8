"""
The bus of several nodes: NATS carries the events and messages of a node to the nodes whose subscribers need them.

Sinks of this node are called at once, as by `LocalBus`. A copy waits for the next flush, which joins the lines of a
subject. While NATS is away, this node goes on alone: events that find no room in the buffer until NATS is back are lost
to other nodes, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import lru_cache, partial
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, MaxPayloadError

from span_events.bus import wire
from span_events.bus.archive import ELECTED, Archive
from span_events.bus.arrivals import Arrivals
from span_events.bus.base import NOBODY, Handler, NobodyServes, Topic, owner_of
from span_events.bus.following import Following
from span_events.bus.link import Link
from span_events.bus.local import LocalBus
from span_events.bus.outgoing import LONGEST, Outgoing
from span_events.bus.senders import Senders
from span_events.clock import Clock
from span_events.config import BusConfig, EventsConfig
from span_events.events.activity import Activity
from span_events.events.catalogue import is_alarm
from span_events.events.history import Past
from span_events.events.message import Message
from span_events.ids import IdGenerator, first_at
from span_events.log import get_logger
from span_events.metrics import Measure, Metric

log = get_logger("bus")

_PREFIX: Final = "span"
"""First word of every subject."""
_PATIENCE: Final = 2.0
"""Seconds that a new subscriber waits for the past of other nodes."""
_LOOK: Final = 10.0
"""Seconds between attempts to find the archive that is missing."""
_FAREWELL: Final = 1.0
"""Seconds at the end for the events that wait."""
_POLL: Final = 0.005


class NatsBus(LocalBus):
    """
    Carries events and messages between nodes; `start` it, `sweep` it about once a second, and `close` it last.

    Args:
        events: Limits of the archive that NATS keeps.
        server: Name that all nodes of this server have in common, see `Senders`.
        fill: Called with the past of a topic that a subscriber here needs.
    """

    def __init__(
        self,
        config: BusConfig,
        events: EventsConfig,
        clock: Clock,
        identifiers: IdGenerator,
        *,
        server: str,
        fill: Callable[[Past], None],
    ) -> None:
        super().__init__(clock, identifiers)
        self._config = config
        self._senders = Senders(server, clock)
        self._outgoing = Outgoing(config.buffer)
        self._waiting = asyncio.Event()
        self._following = Following()
        self._gaps: set[Topic] = set()
        """Topics whose subscribers have to be told of a gap."""
        self._archive = Archive(
            events,
            clock,
            subjects=f"{_PREFIX}.activity.*.*",
            alarms=f"{_PREFIX}.alarms.*",
            birth=f"{_PREFIX}.activity.{NOBODY}.birth",
            copies=config.history_copies,
        )
        self._arrivals = Arrivals(
            self._following,
            self._archive,
            clock,
            senders=self._senders,
            limit=events.history_per_collection,
            new_id=self.new_id,
            show=self.show,
            show_message=self.show_message,
            fill=fill,
            on_gap=self._gaps.add,
        )
        self._services: dict[str, Subscription] = {}
        self._link = Link(
            config,
            clock,
            on_up=self._on_up,
            on_down=self._on_down,
            work=(self._write, self._follow_changes),
            on_slow=self._on_slow,
            on_defect=self._on_defect,
        )
        self._task: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self.cut = 0
        """NATS messages that nats-py discarded because this process fell behind."""
        self.too_large = 0
        """Events and messages that NATS refuses for their size."""
        super().listen(activities=self._carry, messages=self._carry_message)  # first: in the order of identifiers

    async def start(self) -> None:
        """Connect to NATS; return after the first attempt, also if it failed."""
        self._task = asyncio.get_running_loop().create_task(self._link.run(), name="bus")
        first = asyncio.ensure_future(self._link.first_attempt())
        await asyncio.wait([self._task, first], return_when=asyncio.FIRST_COMPLETED)
        first.cancel()

    async def run(self) -> None:
        """Wait until the bus is closed; cancelling does not end the bus."""
        assert self._task is not None, "the bus has started"
        await asyncio.shield(self._task)

    async def close(self) -> None:
        """Send the waiting events, for a second at most, and disconnect from NATS."""
        if self._task is None:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                while self._outgoing.octets and self._link.client is not None:  # noqa: ASYNC110  # a moment, once
                    await asyncio.sleep(_POLL)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    def sweep(self, now: float) -> None:
        """Forget topics without subscribers, look for silent flows, and tell subscribers of this node about gaps."""
        self._following.forget_idle(now)
        self._arrivals.look(now)
        is_due = self._archive.fault and now >= self._next_look
        if self._arrivals.differ or is_due:
            self._following.changed.set()
        self._tell_gap()

    def health(self) -> str:
        """Return ``ok``, or a sentence about the fault."""
        if self._link.client is not None:
            if refusal := self._link.refusal:
                return f"degraded: NATS refuses this login ({refusal}); nodes and subscribers miss events or answers"
            if why := self._archive.fault:
                return f"degraded: NATS keeps no history ({why}); each node has its own"
            another = self._senders.fault
            return f"degraded: {another}" if another else "ok"
        return (
            f"degraded: no connection to NATS ({self._link.fault}); subscribers get the events of their own node only"
        )

    def metrics(self) -> list[Measure]:
        """List the metrics."""
        link, outgoing = self._link, self._outgoing
        return [
            *super().metrics(),
            Metric("bus_connected", "1 while there is a connection to NATS.", "gauge", lambda: link.client is not None),
            Metric(
                "bus_connections", "Connections to NATS so far; the first one too.", "counter", lambda: link.connections
            ),
            Metric("bus_archive", "1 while NATS keeps a history.", "gauge", lambda: not self._archive.fault),
            Metric(
                "bus_refused",
                "Publications and subscriptions that NATS has refused to the login on this connection.",
                "gauge",
                lambda: link.refused,
            ),
            Metric("bus_sent", "Events and messages sent to NATS.", "counter", lambda: link.handed),
            Metric("bus_received", "Events and messages of other nodes.", "counter", lambda: self._arrivals.received),
            Metric(
                "bus_lost",
                "Events and messages that other nodes did not get, or whose way a broken connection leaves open.",
                "counter",
                lambda: {
                    "buffer": outgoing.discarded,
                    "connection": link.unconfirmed,
                    "size": self.too_large,
                },
                label="cause",
            ),
            Metric(
                "bus_skipped",
                "Events and messages that this release does not know, that are damaged, or of another server.",
                "counter",
                lambda: self._arrivals.skipped,
                label="cause",
            ),
            Metric("bus_cut", "NATS messages discarded because this process fell behind.", "counter", lambda: self.cut),
            Metric(
                "bus_waiting_bytes",
                "Bytes that wait for NATS; at most bus.buffer.",
                "gauge",
                lambda: outgoing.octets,
            ),
            Metric("bus_topics", "Collections followed on other nodes.", "gauge", lambda: len(self._following)),
        ]

    # ---- topics -------------------------------------------------------------------------------

    def follow(self, topics: Iterable[Topic]) -> None:
        """Note a subscriber of topics."""
        moment = first_at(self._clock.time_ns() // 1_000_000)
        for topic in topics:
            self._following.add(topic, moment)

    def unfollow(self, topics: Iterable[Topic]) -> None:
        """Note that a subscriber of topics left."""
        for topic in topics:
            self._following.remove(topic, self._clock.monotonic())

    async def caught_up(self, topics: Iterable[Topic]) -> None:
        """
        Wait until events of topics arrive here; at most two seconds, and not at all while NATS is away.

        The history of a topic whose past is then unknown begins now.
        """
        topics = list(topics)
        if self._link.client is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    for topic in topics:
                        await self._following.ready(topic, self._clock.monotonic())
        for topic in topics:
            if not topic.is_messages and self._following.is_unknown(topic):
                self._arrivals.note_gap(topic)

    # ---- to other nodes -----------------------------------------------------------------------

    def _carry(self, activity: Activity) -> None:
        event = activity.event
        owner = event.origin.collection_id
        kind = "alarm" if is_alarm(event) else "routine"
        self._outgoing.append(owner, _subject(owner, kind), wire.encode(activity))
        self._waiting.set()

    def _carry_message(self, message: Message) -> None:
        subject = f"{_PREFIX}.messages.{owner_of(message.origin.collection_id)}"
        self._outgoing.append(subject, subject, wire.encode_message(message))
        self._waiting.set()

    async def _write(self, client: Client) -> None:
        """Send the waiting events, then pause: events of a quiet bus leave at once, those of a busy bus are joined."""
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            while self._link.client is client and (batch := self._outgoing.pop()):
                try:
                    self._link.handed += len(batch.lines)
                    octets = wire.pack(self._senders.name, batch.lines)
                    await client.publish(batch.subject, octets)
                    if not self._archive.fault and (copy := _copy_subject(batch.subject)):
                        await client.publish(copy, octets)
                except MaxPayloadError:
                    self._link.handed -= len(batch.lines)
                    self.too_large += len(batch.lines)
            await self._clock.sleep(self._config.linger_ms / 1000)

    # ---- the connection -----------------------------------------------------------------------

    async def _on_up(self, client: Client) -> None:
        self._outgoing.longest = min(LONGEST, client.max_payload - len(self._senders.name))
        lost = await self._arrivals.open(client)
        await client.subscribe(ELECTED, cb=self._on_elected)
        if self._link.connections:
            self._gaps |= lost
        await self._reconcile(client)
        self._tell_gap()

    def _on_down(self) -> None:
        self._arrivals.close()
        self._services.clear()

    def _on_slow(self, subscription: Subscription) -> None:
        self.cut += 1
        self._gaps |= self._arrivals.topics_by(subscription)

    async def _on_elected(self, _advisory: Msg) -> None:
        """Note a gap in all topics of events: until a server was elected, the archive had no leader, and took none."""
        self._gaps |= {topic for topic in self._following.interests if not topic.is_messages}

    def _on_defect(self) -> None:
        self.failures += 1

    def _tell_gap(self) -> None:
        """Tell subscribers of a gap, once, however many causes it has."""
        if self._gaps:
            lost = frozenset(self._gaps)
            self._gaps.clear()
            for each in self.on_gap:
                each(lost)

    async def _follow_changes(self, client: Client) -> None:
        while True:
            await self._following.changed.wait()
            await self._reconcile(client)

    async def _reconcile(self, client: Client) -> None:
        """Subscribe to the topics that are needed and the subjects that are served, then leave the others."""
        self._following.changed.clear()
        for subject in self._handlers.keys() - self._services:
            self._services[subject] = await client.subscribe(
                f"{_PREFIX}.{subject}", cb=partial(self._answer, client, subject)
            )
        for subject in self._services.keys() - self._handlers.keys():
            # Not unsubscribe: requests under way get their answer, that nobody serves it.
            await self._services.pop(subject).drain()  # type: ignore[no-untyped-call]
        if self._archive.fault and self._clock.monotonic() >= self._next_look:
            self._next_look = self._clock.monotonic() + _LOOK
            await self._archive.open(client)
        await self._arrivals.reconcile(self._link, client)

    # ---- requests -----------------------------------------------------------------------------

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        """Answer the requests to a subject, of this node and of others, until the returned function is called."""
        self._following.changed.set()
        return super().serve(subject, handler)

    async def ask(self, subject: str, data: bytes, within: float) -> bytes:
        """Send a request to the node that serves a subject, this one first, and return its answer."""
        try:
            return await super().ask(subject, data, within)
        except NobodyServes:
            return await self._link.ask(f"{_PREFIX}.{subject}", data, within)

    async def _answer(self, client: Client, subject: str, message: Msg) -> None:
        handler = self._handlers.get(subject)
        try:
            if handler is None:  # it has just gone: the same answer as that of NATS
                await client.publish(message.reply, headers={"Status": "503"})
            else:
                await message.respond(await handler(message.data))
        except Error:
            log.info("bus_answer_lost", subject=subject)
        except Exception:  # the asker gets none, and this node goes on
            self.failures += 1
            log.exception("bus_handler_failed", subject=subject)

    def _serve_no_longer(self, subject: str, handler: Handler) -> None:
        super()._serve_no_longer(subject, handler)
        self._following.changed.set()


@lru_cache(maxsize=1024)
def _subject(owner: int | None, kind: str) -> str:
    """Return the subject of an event."""
    return f"{_PREFIX}.activity.{owner_of(owner)}.{kind}"


@lru_cache(maxsize=1024)
def _copy_subject(subject: str) -> str | None:
    """Return the subject of the copy of warnings and errors, which a stream of their own takes; None for the rest."""
    _, _, owner, *kind = subject.split(".")
    return f"{_PREFIX}.alarms.{owner}" if kind == ["alarm"] else None
