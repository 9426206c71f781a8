"""The scene of a fault: its device, sockets and mobile core; and the type of faults."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from span_events.errors import SpanEventsError
from span_events.simulator.cellular.mobile_core import MobileCore
from span_events.simulator.coap import CoapClient, Timing
from span_events.simulator.devices import Targets
from span_events.simulator.firmware.updates import Updates
from span_events.simulator.sockets import Address
from span_events.simulator.terminals import Terminal


class NotPossible(SpanEventsError):
    """A fault cannot be provoked now."""

    code = "not_possible"


@dataclass(frozen=True, slots=True)
class Scene:
    """The devices, addresses and parts that a fault uses."""

    device: Terminal
    targets: Targets
    stranger: str
    """An address that no device has."""
    timing: Timing = field(default_factory=Timing)
    core: MobileCore | None = None
    updates: Updates | None = None
    neighbour: Terminal | None = None
    """Another device that is switched on; None if there is none."""
    pause: float = 0.0
    """Seconds between the steps of a fault that has several, so that people can read along."""

    @property
    def coap(self) -> Address:
        """Address of the CoAP listener."""
        assert self.targets.coap is not None, "a fleet without CoAP provokes no faults that need it"
        return self.targets.coap

    @property
    def mobile_core(self) -> MobileCore:
        """The mobile core that gives the devices their addresses."""
        assert self.core is not None, "a fleet without a mobile core provokes no faults that need it"
        return self.core

    @property
    def firmware(self) -> Updates:
        """Timing of firmware updates."""
        assert self.updates is not None, "a fleet without updates provokes no faults that need one"
        return self.updates

    def coap_client(self) -> CoapClient:
        """Open a second CoAP endpoint at the device's address."""
        return CoapClient(self.device.address, self.coap, timing=self.timing)


Fault = Callable[[Scene], Awaitable[str]]
"""A coroutine function that returns a sentence on its actions and the replies; its docstring is its help text."""
