"""
Session of one gateway: its state, the updates and messages that wait for it, and the link to it.

Calls go one way, from the listener to the session to the link: a link never calls back, but keeps the
departures of the messages that have left until `Downlink.feed` takes them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, Protocol

from span_events.events.reasons import GatewayReason
from span_events.net import Remote
from span_events.proto.gateway_pb2 import ControlStreamResponse
from span_events.registry.model import Device, Downstream, Gateway


@dataclass(frozen=True, slots=True)
class ConfigDeparture:
    """The gateway's own configuration, on its way to it."""

    cause: int
    entries: int
    trigger: str


@dataclass(frozen=True, slots=True)
class DeviceDeparture:
    """The configuration of a device, or without entries its removal, on its way to a gateway."""

    cause: int
    device_id: int
    entries: int


@dataclass(frozen=True, slots=True)
class MessageDeparture:
    """A downstream message, on its way to a gateway."""

    cause: int | None
    device: Device
    message: Downstream


Departure = ConfigDeparture | DeviceDeparture | MessageDeparture | None
"""Facts about a message that its event needs when the message has left; None for a message without an event."""


class Link(Protocol):
    """The way to a gateway. No method awaits, raises, or calls back."""

    @property
    def waiting(self) -> int:
        """Number of messages that have not left yet."""

    def send(self, message: ControlStreamResponse, *, key: int | None = None, departure: Departure = None) -> bool:
        """
        Queue a message; False if the queue is full, or the stream over.

        Args:
            key: A waiting message with the same key is replaced together with its departure.
            departure: Returned by `take_departed` after the kernel has taken the message's last octet.
        """

    def take_departed(self) -> Sequence[Departure]:
        """Return the departures of the messages that have left since the last call, in order."""

    def withdraw(self, key: int) -> bool:
        """Remove the message with a key from the queue; False if the message has left, or is about to leave."""

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """End the stream with a status; has no effect when the stream is over."""


class SessionState(Enum):
    """Progress of a session."""

    NEW = auto()
    """The gateway has not asked for its configuration: clients drop the configuration of devices until then."""
    READY = auto()
    """The gateway has sent a message of a device, so downstream messages make sense to it."""
    CONFIGURED = auto()
    """The gateway has asked for its configuration, and gets updates and downstream messages."""
    OVER = auto()


MOVES: Final[Mapping[SessionState, frozenset[SessionState]]] = MappingProxyType(
    {
        SessionState.NEW: frozenset({SessionState.READY, SessionState.CONFIGURED, SessionState.OVER}),
        SessionState.READY: frozenset({SessionState.CONFIGURED, SessionState.OVER}),
        SessionState.CONFIGURED: frozenset({SessionState.CONFIGURED, SessionState.OVER}),
        SessionState.OVER: frozenset(),
    }
)


@dataclass(slots=True, eq=False)
class GatewaySession:
    """A connected gateway."""

    id: int
    gateway: Gateway
    remote: Remote
    certificate_serial: int
    link: Link
    began: float
    """Monotonic seconds."""
    last_message: float
    """Time of the last message from the gateway's program, monotonic seconds."""
    state: SessionState = SessionState.NEW
    is_silent: bool = False
    """True while the present silence of the gateway's program has been reported."""
    messages_up: int = 0
    messages_down: int = 0

    configured_at: float = 0.0
    """Start of the last complete configuration, monotonic seconds."""
    asks_again: bool = False
    """True while a repeated configuration request waits for its turn."""
    update: tuple[str, int] | None = None
    """Trigger and cause of an update of the gateway's own configuration that is not sent yet."""
    known: set[int] = field(default_factory=set)
    """Devices whose configuration the gateway has."""
    stale: OrderedDict[int, int] = field(default_factory=OrderedDict)
    """Devices whose configuration must be sent, with the cause."""
    owed: OrderedDict[int, int | None] = field(default_factory=OrderedDict)
    """Devices that may have waiting messages, with the cause if there is one."""
    carried: dict[int, Device] = field(default_factory=dict)
    """Recipients of the downstream messages on their way, by id of the message."""

    @property
    def is_over(self) -> bool:
        """True after the end of the session."""
        return self.state is SessionState.OVER

    @property
    def is_configured(self) -> bool:
        """True when the gateway may get updates of its configuration."""
        return self.state is SessionState.CONFIGURED

    @property
    def is_ready(self) -> bool:
        """True when the gateway may get downstream messages."""
        return self.state is SessionState.READY or self.state is SessionState.CONFIGURED

    def move(self, state: SessionState) -> None:
        """Enter a state; an illegal move is a defect."""
        assert state in MOVES[self.state], f"no way from {self.state} to {state}"
        self.state = state

    def withdraw(self, message_id: int) -> bool:
        """Take back a downstream message; False if the message has left."""
        if not self.link.withdraw(message_id):
            return False
        del self.carried[message_id]
        return True
