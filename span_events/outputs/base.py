"""The interface of all outputs: a sender delivers items to its target, or says why it did not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from span_events.events.activity import Activity
from span_events.events.message import Message
from span_events.events.reasons import OutputReason
from span_events.fleet.outputs.health import Failure
from span_events.net import failure_of

Item = Activity | Message


class DeliveryFailed(Exception):
    """
    A delivery failed.

    Args:
        answered: True if the target has answered: attempts are limited then.
        final: True if another attempt is pointless.
        pause: Seconds that the target asks to wait.
    """

    def __init__(
        self, failure: Failure, *, answered: bool = False, final: bool = False, pause: float | None = None
    ) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.answered = answered
        self.final = final
        self.pause = pause


class Sender(Protocol):
    """The way to one target."""

    target: str
    """URL or ``host:port``, as events show it: without credentials and query."""
    batch: int
    """Upper bound of items of one delivery."""

    async def send(self, items: Sequence[Item]) -> int:
        """
        Deliver items and return the number of octets. Cancelling may lose or double them.

        Raises:
            DeliveryFailed: The target did not take them.
        """

    async def close(self) -> None:
        """Release sockets; again does nothing."""


def unreachable(exc: OSError) -> DeliveryFailed:
    """Return the failure of a connection."""
    return DeliveryFailed(Failure(OutputReason.UNREACHABLE, failure_of(exc)))
