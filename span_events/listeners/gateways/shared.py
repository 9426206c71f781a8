"""What the connections of gateways have in common: their stages, their counters, and what they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from span_events.clock import Clock
from span_events.config import GatewaysConfig
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.listeners.dtls.gate import IssuerOf
from span_events.wire.tls.openssl import TlsEngine


class Stage(Enum):
    """How far a connection has come."""

    TLS = auto()
    HTTP2 = auto()
    """The handshake is done; the control stream is not yet there."""
    OPEN = auto()
    CLOSING = auto()
    """All was said; what the gateway still sends is dropped, so that it can read our last words."""
    CLOSED = auto()


MOVES: Final[Mapping[Stage, frozenset[Stage]]] = MappingProxyType(
    {
        Stage.TLS: frozenset({Stage.HTTP2, Stage.CLOSING, Stage.CLOSED}),
        Stage.HTTP2: frozenset({Stage.OPEN, Stage.CLOSING, Stage.CLOSED}),
        Stage.OPEN: frozenset({Stage.CLOSING, Stage.CLOSED}),
        Stage.CLOSING: frozenset({Stage.CLOSED}),
        Stage.CLOSED: frozenset(),
    }
)


@dataclass(slots=True)
class Counters:
    """What is counted of all connections of a listener."""

    accepted: int = 0
    """Connections of TCP."""
    secured: int = 0
    """Handshakes of TLS that were completed."""
    opened: int = 0
    """Control streams."""
    rejected: int = 0
    """Connections that were not let in."""
    up: int = 0
    """Messages from gateways."""
    down: int = 0
    """Messages to gateways."""
    pings: int = 0
    """Questions to silent gateways whether they are there."""
    defects: int = 0
    """Connections that ended by a fault of ours."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a listener use."""

    config: GatewaysConfig
    sessions: GatewaySessions
    engine: TlsEngine
    issuer_of: IssuerOf
    clock: Clock
    buffer: memoryview
    """Where what was received is put; free again when it was taken in."""
    counters: Counters
