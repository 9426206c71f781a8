"""Services: the parts of the server that the web's handlers use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from aiohttp import web

from span_events.auth.logins import Logins
from span_events.auth.tokens import Tokens
from span_events.clock import Clock
from span_events.config import Config
from span_events.events.history import History
from span_events.fanout.hub import Hub
from span_events.fleet.fleet import Fleet
from span_events.ids import IdGenerator
from span_events.metrics import Measure
from span_events.registry.model import Token
from span_events.turns import RequestTurns


class Streams(Protocol):
    """Handlers of the two kinds of streams; each checks the token itself, before the upgrade."""

    async def activity(self, request: web.Request) -> web.StreamResponse:
        """Serve activity events."""

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Serve upstream messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRoutes:
    """Handlers of streams of every form; each checks the token itself."""

    streams: Streams
    things_stack: Sequence[web.RouteDef]
    """Routes of The Things Stack's API."""
    mqtt: Sequence[web.RouteDef]
    """Routes of MQTT over WebSocket; a client's first packet brings its token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Parts of the server that handlers use, under one key of the application."""

    config: Config
    clock: Clock
    identifiers: IdGenerator
    fleet: Fleet
    tokens: Tokens
    logins: Logins
    history: History
    hub: Hub
    health: Callable[[], Mapping[str, str]]
    """Health of each part (``registry``, ``coap``): ``ok``, or a sentence that names the failure."""
    metrics: Callable[[], Iterable[Measure]]
    turns: RequestTurns = field(default_factory=RequestTurns)
    """Every request begins, and reads its body, in its turn."""


SERVICES: Final = web.AppKey("services", Services)
CAUSE: Final = web.RequestKey("cause", int)
"""Number of a request: its ``X-Request-Id``, and the correlation id of the events that it causes."""
TOKEN: Final = web.RequestKey("token", Token)
"""Token of a request; absent on URLs that need none."""
