"""Every MQTT client of this process: how many there may be, and their end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from span_events.auth.tokens import Tokens
from span_events.bounded.quiet import OncePerMinute
from span_events.clock import Clock
from span_events.config import FanoutConfig, MqttConfig
from span_events.dialects.chirpstack.event import Facts
from span_events.dialects.span import SpanDialect
from span_events.fanout.hub import Hub
from span_events.fanout.subscriber import Dialect, Stream
from span_events.log import get_logger
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Token
from span_events.web.mqtt.publications import ChirpstackPublications, Publications
from span_events.web.mqtt.session import Session
from span_events.web.mqtt.shared import Shared
from span_events.web.mqtt.topics import Form
from span_events.web.streams.admission import Admission
from span_events.web.streams.messages import MessageDialect
from span_events.wire.mqtt.reasons import Reason

log = get_logger("mqtt")

_SOURCES: Final = 1_000
"""Clients that get a log line of their own in a minute."""


class MqttService:
    """The clients, whatever they are connected over."""

    def __init__(
        self,
        config: MqttConfig,
        fanout: FanoutConfig,
        hub: Hub,
        tokens: Tokens,
        directory: Directory,
        facts: Facts,
        admission: Admission,
        clock: Clock,
    ) -> None:
        publications: dict[Form, Dialect] = {
            Form.MESSAGE: Publications(MessageDialect(directory), Stream.MESSAGES),
            Form.ACTIVITY: Publications(SpanDialect(extended=True, names=facts), Stream.ACTIVITIES),
            Form.CHIRPSTACK: ChirpstackPublications(facts, protobuf=config.chirpstack == "protobuf"),
        }
        self.shared = Shared(
            config=config,
            send_buffer=fanout.send_buffer,
            hub=hub,
            tokens=tokens,
            directory=directory,
            facts=facts,
            admission=admission,
            publications=MappingProxyType(publications),
            clock=clock,
        )
        self._sessions: dict[Session, None] = {}
        self._idle: dict[Session, None] = {}  # of the sessions, those without a subscription; the oldest first
        self._by_client: dict[tuple[int, str], Session] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self._refused = Counter[str]()
        self._ended = Counter[str]()
        self._quiet = OncePerMinute(_SOURCES)
        self.flooded = 0
        """Number of clients that were disconnected because they sent too much."""
        self.displaced = 0
        """Number of clients that were disconnected because of mqtt.connections."""

    def metrics(self) -> list[Metric]:
        """List the metrics."""
        return [
            Metric("mqtt_connections", "MQTT connections.", "gauge", lambda: len(self._sessions)),
            Metric(
                "mqtt_idle_connections",
                "MQTT connections without a subscription; at most mqtt.connections.",
                "gauge",
                lambda: len(self._idle),
            ),
            Metric(
                "mqtt_refused",
                "MQTT connections that were refused before the CONNACK of a success.",
                "counter",
                lambda: dict(self._refused),
                label="reason",
            ),
            Metric("mqtt_ended", "MQTT connections that ended.", "counter", lambda: dict(self._ended), label="by"),
            Metric(
                "mqtt_flooded",
                "MQTT clients disconnected for sending over mqtt.client_packets or client_octets.",
                "counter",
                lambda: self.flooded,
            ),
            Metric(
                "mqtt_displaced",
                "MQTT clients disconnected because of mqtt.connections.",
                "counter",
                lambda: self.displaced,
            ),
        ]

    # ---- called by sessions (`Owner`) ---------------------------------------------------------

    def opened(self, session: Session) -> None:
        """Count a session; one too many ends the oldest that is not connected, or else the oldest idle one."""
        if len(self._idle) >= self.shared.config.connections:
            self.displaced += 1
            strangers = (each for each in self._idle if each.token is None or each.is_over)
            (next(strangers, None) or next(iter(self._idle))).displace()
        self._sessions[session] = self._idle[session] = None
        self._empty.clear()

    def joined(self, session: Session) -> None:
        """End the session that has the same token and client identifier (3.1.4)."""
        assert session.token is not None
        key = (session.token.id, session.client_id)
        before = self._by_client.get(key)
        if before is not None:
            before.end(Reason.SESSION_TAKEN_OVER, "another client has connected with this token and identifier")
        self._by_client[key] = session

    def changed(self, session: Session) -> None:
        """Note whether a session is idle now."""
        if session.is_idle and session in self._sessions:
            self._idle.setdefault(session)
        else:
            self._idle.pop(session, None)

    def lost(self, session: Session) -> None:
        """Forget a session."""
        self._sessions.pop(session, None)
        self._idle.pop(session, None)
        if session.token is not None:
            key = (session.token.id, session.client_id)
            if self._by_client.get(key) is session:
                del self._by_client[key]
        if not self._sessions:
            self._empty.set()

    def refused(self, reason: Reason, text: str, remote: str) -> None:
        """Count and log a connection that was refused."""
        self._refused[reason.word] += 1
        count = self._quiet.admits((reason, remote), self.shared.clock.monotonic())
        if count:
            log.warning("mqtt_refused", reason=reason.word, remote=remote, why=text, count=count)

    def ended(self, by: str, *, flooded: bool) -> None:
        """Count the end of a session."""
        self._ended[by] += 1
        self.flooded += flooded

    # ---- operations of the server -------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Once a second: end the sessions of clients that are overdue."""
        for session in [each for each in self._sessions if now >= each.deadline]:
            session.tick(now)

    def revoke(self, tokens: Iterable[Token], why: str) -> None:
        """End the sessions of tokens that are valid no more, those without a subscription too."""
        gone = {token.id for token in tokens}
        if gone:
            for session in [each for each in self._sessions if each.token is not None and each.token.id in gone]:
                session.end(Reason.NOT_AUTHORIZED, why)

    async def close(self) -> None:
        """End all sessions, and return when their connections are closed."""
        for session in list(self._sessions):
            session.end(Reason.SERVER_SHUTTING_DOWN, "the server shuts down")
        await self._empty.wait()
