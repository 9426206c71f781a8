"""The role of a web node: streams of every form, over HTTP, MQTT and gRPC; `server.py` adds the HTTP port."""

from __future__ import annotations

import socket
from typing import Final

from span_events.app.roles.endpoints import configured_addresses, fill_endpoints
from span_events.app.roles.node import Node
from span_events.app.shutdown import Streams as Closing
from span_events.listeners.base import Listener
from span_events.metrics import Measure
from span_events.registry.model import Token
from span_events.web.mqtt.listener import MqttListener
from span_events.web.mqtt.service import MqttService
from span_events.web.mqtt.websocket import MqttWebSockets
from span_events.web.proxies import Proxies
from span_events.web.services import StreamRoutes
from span_events.web.streams.admission import Admission
from span_events.web.streams.streams import Streams
from span_events.web.things_stack.console import ConsoleEvents
from span_events.web.things_stack.grpc import GrpcListener
from span_events.web.things_stack.http import HttpEvents
from span_events.web.things_stack.routes import routes_of
from span_events.web.things_stack.service import EventsService

_SWEEP: Final = 1.0
"""Seconds between sweeps of silent streams."""


class Subscribers:
    """Everything that subscribers connect to, except for the HTTP port itself."""

    def __init__(self, node: Node) -> None:
        self._node = node
        config, fleet = node.config, node.fleet
        admission = Admission(config.streams, Proxies(config.http.proxies), node.hub, node.refused)
        self.streams = Streams(
            http=config.http,
            streams=config.streams,
            events=config.events,
            fanout=config.fanout,
            hub=node.hub,
            history=node.history,
            inbox=fleet.reception.inbox,
            directory=fleet.directory,
            facts=fleet.facts,
            tokens=node.tokens,
            admission=admission,
            clock=node.clock,
        )
        self._things_stack = EventsService(
            streams=config.streams,
            hub=node.hub,
            history=node.history,
            directory=fleet.directory,
            tokens=node.tokens,
            clock=node.clock,
            identifiers=node.identifiers,
            admission=admission,
            host=socket.gethostname(),
        )
        self._console = ConsoleEvents(
            config.things_stack, config.streams, config.fanout, self._things_stack, admission, node.clock
        )
        self._mqtt = MqttService(
            config.mqtt, config.fanout, node.hub, node.tokens, fleet.directory, fleet.facts, admission, node.clock
        )
        events = HttpEvents(config.things_stack, config.fanout, self._things_stack, admission)
        websockets = MqttWebSockets(self._mqtt, config.http, config.streams, admission, self.streams.refusals)
        self.routes = StreamRoutes(
            streams=self.streams,
            things_stack=routes_of(events, self._console),
            mqtt=websockets.routes() if config.mqtt.enabled else (),
        )
        """Those of the HTTP port."""
        self.closing: list[Closing] = [self.streams, self._console]
        """Streams that the shutdown closes, in this order."""
        self.listeners: list[Listener] = []
        """Ports of their own, beside HTTP."""
        if config.things_stack.grpc:
            self._add(self._grpc_listener())
        if config.mqtt.enabled:
            self._add(self._mqtt_listener())

    def _grpc_listener(self) -> GrpcListener:
        node = self._node
        return GrpcListener(
            node.config.things_stack,
            node.config.fanout,
            self._things_stack,
            identities=node.engines.identities(),
            clock=node.clock,
            refused=node.refused,
            shared=node.config.shared_ports,
        )

    def _mqtt_listener(self) -> MqttListener:
        node = self._node
        return MqttListener(
            self._mqtt,
            identities=node.engines.identities(),
            refused=node.refused,
            shared=node.config.shared_ports,
        )

    def _add(self, listener: GrpcListener | MqttListener) -> None:
        self._node.engines.on_renewed.append(listener.present)
        self.closing.append(listener)
        self.listeners.append(listener)

    def bound(self) -> None:
        """Show the API where devices reach the server; the listeners of a node of all roles know it better."""
        if self._node.config.role == "web":
            config = self._node.config
            fill_endpoints(config, configured_addresses(config), self._node.fleet.directory)

    def run(self) -> None:
        """Repeat the sweeps of streams, and end those of tokens that are no longer valid."""
        every, now = self._node.supervisor.every, self._node.clock.monotonic
        every(_SWEEP, "streams", lambda: self.streams.sweep(now()))
        every(_SWEEP, "console", lambda: self._console.sweep(now()))
        every(self._node.config.registry.watch_interval, "tokens", self._watch_tokens)

    async def _watch_tokens(self) -> None:
        tokens = self._node.tokens
        self._revoke(tokens.expired(), "the token has expired")  # first: it needs no registry
        self._revoke(await tokens.refresh(), "the token was revoked")

    def _revoke(self, tokens: list[Token], why: str) -> None:
        self.streams.revoke(tokens, why)
        self._mqtt.revoke(tokens, why)

    def health(self) -> dict[str, str]:
        """Return nothing: a stream that fails ends, and its client comes again."""
        return {}

    def metrics(self) -> list[Measure]:
        """List the metrics, without those of each listener."""
        return [*self.streams.metrics(), *self._things_stack.metrics(), *self._console.metrics()]
