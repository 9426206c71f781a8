"""The interface of a role: the ports that it adds to a node, and its repeated work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from span_events.app.shutdown import Streams
from span_events.listeners.base import Listener
from span_events.metrics import Measure


class Role(Protocol):
    """A role of a node; the server binds its listeners."""

    @property
    def listeners(self) -> Sequence[Listener]:
        """Ports of their own, beside HTTP."""

    @property
    def closing(self) -> Sequence[Streams]:
        """Streams that the shutdown closes, in this order."""

    def bound(self) -> None:
        """Take note that the listeners are bound, and that the node has their addresses; none of them runs yet."""

    def run(self) -> None:
        """Start the repeated work, until the shutdown."""

    def health(self) -> Mapping[str, str]:
        """Return the health of the parts that may fail while they are bound."""

    def metrics(self) -> Sequence[Measure]:
        """List the metrics, without those of each listener."""
