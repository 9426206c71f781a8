"""The devices of ``serve --demo``: few and slow enough to read along, with a fault now and then."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from span_events.log import get_logger
from span_events.simulator.devices import Targets
from span_events.simulator.faults import NEED_COAP
from span_events.simulator.fleet import Fleet, Member

RATE: Final = 1.0
"""Messages a second of all demo devices together."""
FAULT_PAUSE: Final = 12.0
"""Mean seconds between two faults."""
FAULTS: Final = ("unknownCriticalOption", "duplicate", "unknownAddress", "malformed", "tooLarge", "blockMissing")
"""What goes wrong, in turn; nothing that would fill the screen or end a device."""


async def run_demo(*, targets: Targets, addresses: Sequence[Member]) -> None:
    """
    Send until cancelled. Cancelling closes every socket.

    Args:
        targets: Where this server's device side listens. Faults that need CoAP are left out without it.
        addresses: ``allocatedIp`` of the seeded devices, and how each sends.

    Raises:
        AddressUnavailable: A device's address is not one of this machine.
        NoTarget: A device has nowhere to send to.
    """
    log = get_logger("simulator.demo")
    fleet = Fleet(
        addresses,
        targets,
        rate=RATE,
        faults=[each for each in FAULTS if targets.coap is not None or each not in NEED_COAP],
        fault_pause=FAULT_PAUSE,
        on_fault=lambda name, seen: log.debug("demo_fault", fault=name, seen=seen),
    )
    await fleet.run()
