"""The ChirpStack server of ``serve --demo``: two LoRaWAN devices, and a fault now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import orjson

from span_events.bus.base import Bus
from span_events.dialects.chirpstack.identity import EUI_TAG
from span_events.dialects.chirpstack.rules import Kind
from span_events.errors import SpanEventsError
from span_events.fleet.chirpstack.intake import Intake
from span_events.log import get_logger
from span_events.registry.model import Collection, Device
from span_events.simulator.chirpstack.faults import CHIRPSTACK_FAULTS, run_with_faults
from span_events.simulator.chirpstack.network import EndDevice, SimulatedNetwork

RATE: Final = 0.15
"""Uplinks a second of both devices together."""
FAULT_PAUSE: Final = 45.0
"""Mean seconds between two faults."""
RETRY: Final = 60.0
"""Seconds until the network begins anew after a failure."""
_REMOTE: Final = ("127.0.0.1", 0)


async def run_demo_chirpstack(intake: Intake, bus: Bus, collection: Collection, meters: Sequence[Device]) -> None:
    """
    Report the events of the devices until cancelled.

    The intake gets each event as its HTTP handler passes it on: the demo needs no token that may write.
    """
    log = get_logger("simulator.demo")

    async def deliver(kind: Kind, document: dict[str, Any]) -> str:
        octets, cause = orjson.dumps(document), bus.new_id()
        return await intake.take(collection, kind, octets, content_type="", remote=_REMOTE, cause=cause)

    def tell(word: str, sentence: str) -> None:
        log.debug("demo_chirpstack", what=word, seen=sentence)

    while True:
        devices = [EndDevice(each.tags.get(EUI_TAG, ""), each.tags.get("name", "")) for each in meters]
        network = SimulatedNetwork(devices, deliver, rate=RATE, tell=tell)
        try:
            await run_with_faults(network, list(CHIRPSTACK_FAULTS), pause=FAULT_PAUSE, tell=tell)
        except SpanEventsError as exc:  # for example a registry that cannot be written
            log.warning("demo_chirpstack_waits", why=str(exc), seconds=RETRY)
            await asyncio.sleep(RETRY)
