"""Starts the outputs, which need parts of the fleet and of the web."""

from __future__ import annotations

from span_events.bus.base import Bus
from span_events.clock import Clock
from span_events.config import OutputsConfig
from span_events.fleet.fleet import Fleet
from span_events.outputs.outputs import Outputs
from span_events.web.streams.messages import MessageDialect


def start_outputs(config: OutputsConfig, fleet: Fleet, bus: Bus, clock: Clock) -> Outputs:
    """Start a worker for each output of the registry, and pass what is published on to them."""
    outputs = Outputs(config, fleet, MessageDialect(fleet.directory).encode, clock)
    bus.listen(activities=outputs.show, messages=outputs.show_message)
    return outputs
