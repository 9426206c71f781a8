"""The shape that all listeners share."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    """One bound address that devices speak to."""

    name: str
    """Log field, table of the configuration, name of the task."""

    @property
    def address(self) -> str:
        """``host:port`` of what is bound; only after `start`."""

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
