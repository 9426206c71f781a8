"""The control stream of one gateway, as the listener gives it and as the fleet remembers it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from span_events.events.reasons import GatewayReason
from span_events.net import Remote
from span_events.proto.gateway_pb2 import ControlStreamResponse
from span_events.registry.model import Device, Gateway


class Link(Protocol):
    """The way to a gateway. Nothing here awaits or raises."""

    @property
    def waiting(self) -> int:
        """Messages that have not left yet."""

    def send(
        self, message: ControlStreamResponse, *, key: int | None = None, sent: Callable[[], None] | None = None
    ) -> bool:
        """
        Queue a message; False if the queue is full, or the stream over.

        Args:
            key: One that waits with the same key is replaced, and its `sent` is never called.
            sent: Called when the last octet was given to the kernel; it may send again.
        """

    def withdraw(self, key: int) -> bool:
        """Take back the message with a key; False if it has left, or is about to."""

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """End the stream in words, from our side; harmless when it is over."""


@dataclass(slots=True, eq=False)
class GatewaySession:
    """A gateway that is connected."""

    id: int
    gateway: Gateway
    remote: Remote
    certificate_serial: int
    link: Link
    began: float
    """Monotonic seconds."""
    last_message: float
    """When its program last sent something, monotonic seconds."""
    is_over: bool = False
    is_silent: bool = False
    """Whether it was told that nothing came since."""
    messages_up: int = 0
    messages_down: int = 0

    is_configured: bool = False
    """Whether it has asked for its configuration; before, clients drop that of devices."""
    is_ready: bool = False
    """Whether messages for devices make sense to it: it is configured, or has sent one of a device."""
    configured_at: float = 0.0
    """When it last got everything, monotonic seconds."""
    asks_again: bool = False
    """Whether it wants everything once more, sooner than it gets it."""
    update: tuple[str, int] | None = None
    """That it must be told its own configuration, and why: trigger and cause."""
    known: set[int] = field(default_factory=set)
    """Devices whose configuration it has."""
    stale: OrderedDict[int, int] = field(default_factory=OrderedDict)
    """Devices of which it must be told how they are now, with the cause."""
    owed: OrderedDict[int, int | None] = field(default_factory=OrderedDict)
    """Devices for which messages may wait, with the cause if there is one."""
    carried: dict[int, Device] = field(default_factory=dict)
    """Downstream messages that are on the way, by id, and for whom."""
    is_feeding: bool = False

    def withdraw(self, message_id: int) -> bool:
        """Take back a downstream message; False if it has left."""
        if not self.link.withdraw(message_id):
            return False
        del self.carried[message_id]
        return True
