"""
Brokers: subscribes at the MQTT brokers to which ChirpStack servers publish, and takes their events.

A broker that cannot be reached, or that ends the connection, is tried again for ever, and concerns no other part.
Events are read one after the other and not faster than `ChirpstackConfig.broker_rate`; more of them wait in the broker,
which has a bound of its own.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from contextlib import AsyncExitStack, suppress
from math import ceil
from typing import Final

from span_events import ids
from span_events.bounded.per_minute import LimitPerMinute
from span_events.bounded.rates import Allowance
from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import BrokerConfig, ChirpstackConfig
from span_events.errors import MalformedMessage, NotFound, RequestError, SpanEventsError
from span_events.fleet.fleet import Fleet
from span_events.listeners.chirpstack.topics import topic_of
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.net import broker_of, failure_of
from span_events.registry.model import Collection
from span_events.wire.mqtt import publishing
from span_events.wire.mqtt.subscribing import (
    FAILURE,
    PING_REQUEST,
    Accepted,
    BrokerPackets,
    Packet,
    Pong,
    Publication,
    Subscribed,
    acknowledgement,
    subscribe,
)

log = get_logger("chirpstack")

_READ: Final = 65_536
_QOS: Final = 1
_PACKET_ID: Final = 1
_CONNECT_TIMEOUT: Final = 10.0
"""Seconds for look-up, TCP, TLS, CONNACK and SUBACK."""
_IDLE: Final = "not connected"
_PINGS: Final = 3
"""Pings within `ChirpstackConfig.keep_alive`."""
_LONGEST_KEEP_ALIVE: Final = 65_535
_AT_ONCE: Final = 0.2
"""Seconds of events at the full rate that may be read at once."""
_SHOWN: Final = 200
"""Characters of a topic in the log."""


class _Lost(Exception):
    """The connection is of no use; the text says why."""


class Brokers:
    """The connections to all brokers of the configuration."""

    def __init__(self, config: ChirpstackConfig, *, bus: Bus, fleet: Fleet, clock: Clock) -> None:
        self._sources = [Source(each, config, bus=bus, fleet=fleet, clock=clock) for each in config.brokers]

    async def run(self) -> None:
        """Read from every broker until cancelled."""
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run())

    def metrics(self) -> list[Metric]:
        """Return the metrics."""
        sources = self._sources
        return [
            Metric(
                "chirpstack_broker_connected",
                "1 while this node's subscription at a broker of ChirpStack stands; of several nodes, one reads.",
                "gauge",
                lambda: {each.config.name: float(each.why == "") for each in sources},
                label="broker",
            ),
            Metric(
                "chirpstack_broker_messages",
                "Messages that a broker of ChirpStack has sent.",
                "counter",
                lambda: {each.config.name: each.messages for each in sources},
                label="broker",
            ),
            Metric(
                "chirpstack_broker_refused",
                "Messages of brokers that became no event, by cause.",
                "counter",
                lambda: dict(sum((each.refused for each in sources), Counter[str]())),
                label="cause",
            ),
            Metric(
                "chirpstack_broker_failures",
                "Connections to a broker of ChirpStack that failed or ended.",
                "counter",
                lambda: {each.config.name: each.failures for each in sources},
                label="broker",
            ),
        ]


class Source:
    """The connection to one broker."""

    def __init__(self, config: BrokerConfig, limits: ChirpstackConfig, *, bus: Bus, fleet: Fleet, clock: Clock) -> None:
        self.config = config
        self.why = _IDLE
        """Cause for which there is no subscription at the moment; empty while there is one."""
        self.failures = 0
        self.messages = 0
        self.refused = Counter[str]()
        """Messages that became no event, by cause."""
        self._broker = broker_of(config.url)
        self._limits = limits
        self._bus = bus
        self._directory = fleet.directory
        self._intake = fleet.chirpstack
        self._clock = clock
        self._allowance = Allowance(limits.broker_rate, limits.broker_rate * _AT_ONCE)
        self._told = LimitPerMinute(1, keys=16)

    async def run(self) -> None:
        """Connect, subscribe and read until cancelled."""
        pause = self._limits.first_pause
        while True:
            try:
                await self._connect_and_read()
            except asyncio.CancelledError:  # another node reads from now on, or the server stops
                self.why = _IDLE
                raise
            except Exception as exc:  # whatever a broker sends, it must not end the server
                if not isinstance(exc, OSError | UnicodeError | MalformedMessage | SpanEventsError | _Lost):
                    log.exception("chirpstack_broker_defect", broker=self.config.name)
                if not self.why:
                    pause = self._limits.first_pause
                self._lose(_text_of(exc))
            await self._clock.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            pause = min(self._limits.longest_pause, pause * 2)

    def _lose(self, why: str) -> None:
        """Note that there is no subscription; a cause that stays is one line in the log."""
        self.failures += 1
        if self.why != why:
            log.warning("chirpstack_broker_lost", broker=self.config.name, url=str(self._broker), why=why)
        self.why = why

    async def _connect_and_read(self) -> None:
        """Read until the connection ends, which is always a failure."""
        config, packets = self.config, BrokerPackets(self._limits.max_event)
        now = asyncio.get_running_loop().time
        async with AsyncExitStack() as stack, asyncio.timeout(_CONNECT_TIMEOUT) as deadline:
            self._collection()
            context = _context(config) if self._broker.tls else None
            reader, writer = await asyncio.open_connection(self._broker.host, self._broker.port, ssl=context)
            stack.callback(_close, writer)
            writer.write(
                publishing.connect(
                    config.client_id,
                    config.username,
                    config.password.get_secret_value(),
                    keep_alive=min(_LONGEST_KEEP_ALIVE, ceil(self._limits.keep_alive)),
                    clean=not config.client_id,
                )
            )
            pings = asyncio.create_task(self._ping(writer))
            stack.callback(pings.cancel)
            while True:
                octets = await reader.read(_READ)
                if not octets:
                    raise _Lost("the broker closed the connection")
                deadline.reschedule(None)  # while events are taken, the broker has to wait
                for packet in packets.feed(octets):
                    await self._handle(packet, writer)
                deadline.reschedule(now() + (_CONNECT_TIMEOUT if self.why else self._limits.keep_alive))
                await writer.drain()

    async def _handle(self, packet: Packet, writer: asyncio.StreamWriter) -> None:
        match packet:
            case Accepted(code=0):
                _send(writer, subscribe(_PACKET_ID, self.config.topics, _QOS))
            case Accepted(code=code):
                raise _Lost(f"the broker refuses the connection: {publishing.REFUSALS.get(code, code)}")
            case Subscribed(codes=codes):
                refused = [topic for topic, code in zip(self.config.topics, codes, strict=False) if code == FAILURE]
                if refused:
                    raise _Lost(f"the broker refuses the topic {refused[0]}")
                self.why = ""
                log.info("chirpstack_broker_connected", broker=self.config.name, url=str(self._broker))
            case Publication():
                await self._turn()
                await self._take(packet)
                if packet.packet_id:
                    _send(writer, acknowledgement(packet.packet_id))
            case Pong():
                pass

    async def _turn(self) -> None:
        """Let other tasks run, and wait while the broker is over its rate."""
        await asyncio.sleep(0)
        self._allowance.admits(1, self._clock.monotonic())
        while not self._allowance.admits(0, self._clock.monotonic()):
            await self._clock.sleep(1 / self._limits.broker_rate)

    async def _take(self, publication: Publication) -> None:
        self.messages += 1
        topic = topic_of(publication.topic)
        if topic is None:
            return self._refuse("topic", publication, "is no topic of ChirpStack's events")
        if publication.payload is None:
            return self._refuse("tooLarge", publication, f"over {self._limits.max_event} octets (chirpstack.max_event)")
        try:
            await self._intake.take(
                self._collection(),
                topic.kind,
                publication.payload,
                content_type="",
                remote=(self._broker.host, self._broker.port),
                cause=self._bus.new_id(),
                eui=topic.dev_eui,
            )
        except RequestError as exc:
            self._refuse(exc.code, publication, exc.detail)
        except SpanEventsError as exc:  # the registry cannot be written
            if publication.packet_id:
                raise  # without an acknowledgement, the broker sends it again
            self._refuse(exc.code, publication, str(exc))
        return None

    def _refuse(self, cause: str, publication: Publication, why: str) -> None:
        """Count a message that became no event; one of a cause in a minute is logged."""
        self.refused[cause] += 1
        now = self._clock.monotonic()
        if not self._told.exceeded(cause, now):
            self._told.count(cause, now)
            topic = publication.topic[:_SHOWN]
            log.warning("chirpstack_event_refused", broker=self.config.name, topic=topic, why=why)

    def _collection(self) -> Collection:
        try:
            return self._directory.collection(ids.parse(self.config.collection))
        except NotFound:
            raise _Lost(f"there is no collection {self.config.collection} (chirpstack.brokers.collection)") from None

    async def _ping(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._clock.sleep(self._limits.keep_alive / _PINGS)
            with suppress(_Lost):  # the reader will see it
                _send(writer, PING_REQUEST)


def _send(writer: asyncio.StreamWriter, octets: bytes) -> None:
    if writer.is_closing():  # uvloop refuses to write to a connection that was reset
        raise _Lost("the broker closed the connection")
    writer.write(octets)


def _close(writer: asyncio.StreamWriter) -> None:
    with suppress(_Lost):
        _send(writer, publishing.DISCONNECT)
    writer.close()


def _context(config: BrokerConfig) -> ssl.SSLContext:
    """Make the context anew for each connection: files may have been renewed."""
    context = ssl.create_default_context(cafile=config.ca or None)
    if config.certificate:
        context.load_cert_chain(config.certificate, config.key or None)
    return context


def _text_of(exc: Exception) -> str:
    match exc:
        case TimeoutError():
            return "no answer in time"
        case ssl.SSLError():
            return f"TLS: {exc}"
        case OSError():
            return failure_of(exc)
        case MalformedMessage() | SpanEventsError() | _Lost() | UnicodeError():  # a name that no look-up takes, say
            return str(exc)
        case _:
            return f"a defect: {type(exc).__name__}"
