"""The shape that all listeners share."""

from __future__ import annotations

from typing import Protocol

from span_events.metrics import Metric


class Listener(Protocol):
    """One bound address that devices speak to."""

    name: str
    """Log field, table of the configuration, name of the task."""

    @property
    def address(self) -> str:
        """``host:port`` of what is bound; only after `start`."""

    def metrics(self) -> list[Metric]:
        """List what is counted; each bound of the configuration has its gauge."""

    async def start(self) -> None:
        """
        Bind.

        Raises:
            ListenerUnavailable: The address cannot be bound.
        """

    async def run(self) -> None:
        """Serve until cancelled; ends with an error when the socket is lost."""

    async def stop(self) -> None:
        """Release the socket; harmless when repeated."""
