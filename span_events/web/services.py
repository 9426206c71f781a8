"""What the web's handlers need of the other parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from aiohttp import web

from span_events.auth.tokens import Tokens
from span_events.clock import Clock
from span_events.config import Config
from span_events.fleet.blobs.blobs import Blobs
from span_events.fleet.certificates import Certificates
from span_events.fleet.collections import Collections
from span_events.fleet.devices.devices import Devices
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.devices.outbox import Outbox
from span_events.fleet.devices.psks import Psks
from span_events.fleet.firmware.images import Images
from span_events.fleet.firmware.reports import Firmware
from span_events.fleet.gateways.gateways import Gateways
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.ids import IdGenerator
from span_events.metrics import Metric
from span_events.registry.directory import Directory
from span_events.registry.model import Token


class Streams(Protocol):
    """The two kinds of streams; both authorise by themselves, before they upgrade."""

    async def activity(self, request: web.Request) -> web.StreamResponse:
        """Serve activity events."""

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """Serve upstream messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything that is handed to the web."""

    config: Config
    clock: Clock
    identifiers: IdGenerator
    directory: Directory
    tokens: Tokens
    collections: Collections
    devices: Devices
    gateways: Gateways
    gateway_sessions: GatewaySessions
    reception: Reception
    outbox: Outbox
    certificates: Certificates
    psks: Psks
    images: Images
    firmware: Firmware
    blobs: Blobs
    streams: Streams
    health: Callable[[], Mapping[str, str]]
    """Per part (``registry``, ``coap``): ``ok``, or a sentence that says what is wrong."""
    metrics: Callable[[], Iterable[Metric]]


SERVICES: Final = web.AppKey("services", Services)
CAUSE: Final = web.RequestKey("cause", int)
"""Number of a request: its ``X-Request-Id``, and the cause of the events that follow from it."""
TOKEN: Final = web.RequestKey("token", Token)
"""Whose request it is; absent where no token is needed."""
