"""
Takes over the timers of nodes that died: the leader publishes the updates that stalled there.

A node times the updates of the devices that it serves. A device that goes on at another node is timed there.
"""

from __future__ import annotations

import asyncio
from typing import Final

from span_events.clock import Clock
from span_events.fleet.devices.inbound import Reception
from span_events.fleet.firmware.states import FirmwareStates
from span_events.fleet.others import OtherNodes
from span_events.registry.registry import Registry

_SETTLED: Final = 5.0
"""Seconds of leading before anything is taken over: all nodes renew their leases after an outage of PostgreSQL."""
_SLICE: Final = 1_000
"""Upper bound of updates that one look takes over; the next look takes the rest."""


class TakeOver:
    """The candidacy of this node for the updates of dead nodes."""

    def __init__(
        self, states: FirmwareStates, *, reception: Reception, registry: Registry, others: OtherNodes, clock: Clock
    ) -> None:
        self._states = states
        self._reception = reception
        self._registry = registry
        self._others = others
        self._clock = clock
        self._led_since = clock.monotonic()

    async def look(self) -> None:
        """
        Publish the updates that stalled at dead nodes; called about once a second.

        A node is dead if its lease has ended and it answers no question: so a node that lost only PostgreSQL goes on
        timing its devices.

        Raises:
            StorageUnavailable: The database cannot be used; the next call tries again.
        """
        now = self._clock.monotonic()
        if not self._registry.leads:
            self._led_since = now
        if now < self._led_since + _SETTLED:
            return
        overdue = self._states.overdue(limit=_SLICE)
        nodes = list({each.firmware.node for each in overdue})
        answers = await asyncio.gather(*map(self._others.lives, nodes))
        live = {node for node, lives in zip(nodes, answers, strict=True) if lives}
        seen = {each.id: each.firmware.download_ms for each in overdue if each.firmware.node not in live}
        if not seen:
            return
        taken = await self._registry.store.timers.take_updates(seen)
        for device in overdue:
            if device.id in taken:
                self._states.take(device, seen[device.id])
        await self._reception.flush()  # now: if this node dies, too, nobody publishes them again
