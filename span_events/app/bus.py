"""The bus that the configuration asks for: inside this process, or NATS between nodes."""

from __future__ import annotations

import hashlib
from typing import Final

from span_events.app.supervisor import Supervisor
from span_events.bus.local import LocalBus
from span_events.clock import Clock
from span_events.config import Config
from span_events.errors import ConfigurationError
from span_events.events.history import History
from span_events.fanout.hub import Hub
from span_events.ids import IdGenerator

_SWEEP: Final = 1.0
_SERVER: Final = 12
"""Digits that tell servers apart."""


def make_bus(config: Config, clock: Clock, identifiers: IdGenerator, history: History, root_pem: bytes) -> LocalBus:
    """
    Make the bus of this process, and let the history listen to it.

    Args:
        root_pem: Root of the authority, the same on all nodes of a server; names the server on the bus.

    Raises:
        ConfigurationError: The extra for NATS is not installed, or a file of the bus cannot be read.
    """
    if not config.bus.url:
        bus = LocalBus(clock, identifiers)
        bus.listen(activities=history.append)
        return bus
    try:
        from span_events.bus.nats import NatsBus  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as exc:
        raise ConfigurationError(
            ["bus.url: the package nats-py is not installed"],
            hint="Install the extra: `pip install 'span-events[nats]'`.",
        ) from exc
    bus = NatsBus(config.bus, config.events, clock, identifiers, server=name_on_bus(root_pem), fill=history.fill)
    bus.listen(activities=history.insert, everywhere=True)
    return bus


def name_on_bus(root_pem: bytes) -> str:
    """Return the name that all nodes of a server have in common on the bus."""
    return hashlib.sha256(root_pem).hexdigest()[:_SERVER]


async def start_bus(bus: LocalBus, hub: Hub, supervisor: Supervisor, clock: Clock) -> None:
    """Start the bus, its repeated work, and its reports of gaps to the hub; NATS may be away."""
    bus.on_gap.append(hub.tell_gap)
    await bus.start()
    supervisor.run("bus", bus.run)
    supervisor.every(_SWEEP, "bus_sweep", lambda: bus.sweep(clock.monotonic()))
