"""State shared by the connections of gateways: stages, counters, and the parts that they use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from span_events.clock import Clock
from span_events.config import GatewaysConfig
from span_events.fleet.gateways.sessions import GatewaySessions
from span_events.fleet.identity import Identification
from span_events.listeners.ports import Ports
from span_events.metrics import HANDSHAKE_BOUNDS, Histogram
from span_events.turns import Turns


class Stage(Enum):
    """Progress of a connection."""

    TLS = auto()
    HTTP2 = auto()
    """The TLS handshake is complete; the control stream is not open yet."""
    OPEN = auto()
    CLOSING = auto()
    """All output is written; input is dropped, so that the gateway can read the last messages."""
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
ACTIVE: Final = frozenset({Stage.HTTP2, Stage.OPEN})
"""Stages in which frames are processed."""


@dataclass(slots=True)
class Counters:
    """Counters over all connections of a listener."""

    accepted: int = 0
    """TCP connections accepted."""
    secured: int = 0
    """TLS handshakes completed."""
    durations: Histogram = field(default_factory=lambda: Histogram(*HANDSHAKE_BOUNDS))
    """Seconds from the connection to the end of the TLS handshake."""
    octets: int = 0
    """Encrypted octets received."""
    opened: int = 0
    """Control streams opened."""
    rejected: int = 0
    """Connections rejected."""
    up: int = 0
    """Messages received from gateways."""
    down: int = 0
    """Messages sent to gateways."""
    floods: int = 0
    """Connections ended because they sent too many frames."""
    pings: int = 0
    """Pings sent to silent gateways."""
    defects: int = 0
    """Connections ended by a defect of ours."""


@dataclass(frozen=True, slots=True)
class Shared:
    """Parts used by all connections of a listener."""

    config: GatewaysConfig
    sessions: GatewaySessions
    identification: Identification
    clock: Clock
    counters: Counters
    turns: Turns
    ports: Ports
