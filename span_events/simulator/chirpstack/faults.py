"""
Faults that a simulated ChirpStack server reports on request.

Every fault is a coroutine function that takes the network and a device, and returns a report for people.
The docstring is the fault's help text. ``CHIRPSTACK_FAULTS`` lists all faults.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from uuid import uuid4

from span_events.dialects.chirpstack.rules import Kind
from span_events.simulator.chirpstack.network import JITTER, EndDevice, SimulatedNetwork, Tell

ChirpstackFault = Callable[[SimulatedNetwork, EndDevice], Awaitable[str]]


async def wrong_key(network: SimulatedNetwork, device: EndDevice) -> str:
    """A device that joins with another key than the network server has (UPLINK_MIC)."""
    text = "MIC of join-request is invalid, make sure keys are correct"
    await network.log(device, "UPLINK_MIC", "ERROR", text, deduplication_id=uuid4())
    return "join-request with another key"


async def nonce_reused(network: SimulatedNetwork, device: EndDevice) -> str:
    """A device that joins with a DevNonce that it used before (OTAA)."""
    nonce = random.getrandbits(16)
    text = "DevNonce has already been used"
    await network.log(device, "OTAA", "ERROR", text, deduplication_id=uuid4(), dev_nonce=nonce)
    return f"join-request with DevNonce {nonce} again"


async def counter_reset(network: SimulatedNetwork, device: EndDevice) -> str:
    """A device whose frame counter went back, so that its uplinks are lost until it joins again."""
    text = "the frame counter went back"
    context = {"deduplication_id": uuid4(), "f_cnt_up": 0}
    await network.log(device, "UPLINK_F_CNT_RESET", "WARNING", text, **context)
    await network.join(device)
    return "frame counter 0; joined again"


async def retransmission(network: SimulatedNetwork, device: EndDevice) -> str:
    """A device that sends the same frame counter again (UPLINK_F_CNT_RETRANSMISSION)."""
    text = "the frame counter did not increase"
    context = {"deduplication_id": uuid4(), "f_cnt_up": device.frames_up}
    await network.log(device, "UPLINK_F_CNT_RETRANSMISSION", "WARNING", text, **context)
    return f"frame counter {device.frames_up} again"


async def too_late(network: SimulatedNetwork, device: EndDevice) -> str:
    """A gateway that gets a downlink too late to send it (DOWNLINK_GATEWAY)."""
    await network.log(device, "DOWNLINK_GATEWAY", "ERROR", "TOO_LATE")
    return "downlink refused by the gateway"


async def not_acknowledged(network: SimulatedNetwork, device: EndDevice) -> str:
    """A device that does not acknowledge a confirmed downlink."""
    await network.downlink(device, acknowledged=False)
    return f"downlink {device.frames_down} without an acknowledgement"


async def expired(network: SimulatedNetwork, device: EndDevice) -> str:
    """A downlink that waited past its expiry, since the device did not send (EXPIRED)."""
    await network.log(device, "EXPIRED", "ERROR", "the queue item has expired", queue_item_id=uuid4())
    return "downlink expired"


async def decoder_fails(network: SimulatedNetwork, device: EndDevice) -> str:
    """A decoder script that fails (UPLINK_CODEC); the uplink comes without a decoded object."""
    device.frames_up += 1
    identified = network.identified()
    fields = network.uplink(device, identified)
    del fields["object"]
    context = {"deduplication_id": identified["deduplicationId"]}
    await network.log(device, "UPLINK_CODEC", "ERROR", "TypeError: bytes is undefined", **context)
    await network.emit(Kind.UP, device, fields)
    return f"uplink {device.frames_up} without an object"


async def repeated(network: SimulatedNetwork, device: EndDevice) -> str:
    """An event that is delivered twice, as by two integrations with the same URL."""
    device.frames_up += 1
    fields = network.uplink(device, network.identified())
    for _ in range(2):
        await network.emit(Kind.UP, device, fields)
    return f"uplink {device.frames_up} twice"


CHIRPSTACK_FAULTS: Final[Mapping[str, ChirpstackFault]] = MappingProxyType(
    {
        "wrongKey": wrong_key,
        "nonceReused": nonce_reused,
        "counterReset": counter_reset,
        "retransmission": retransmission,
        "tooLate": too_late,
        "notAcknowledged": not_acknowledged,
        "expired": expired,
        "decoderFails": decoder_fails,
        "repeated": repeated,
    }
)
"""Faults by their names for ``simulate chirpstack --fault``."""


def meaning_of(name: str) -> str:
    """Return the sentence that documents a fault."""
    return (CHIRPSTACK_FAULTS[name].__doc__ or "").strip()


async def run_with_faults(network: SimulatedNetwork, faults: Sequence[str], *, pause: float, tell: Tell) -> None:
    """
    Run a network until cancelled, and provoke faults one after the other.

    Args:
        faults: Names in `CHIRPSTACK_FAULTS`.
        pause: Mean seconds between two faults; the first comes after one such pause.
        tell: Called with the name and the report of each fault.

    Raises:
        ServerUnreachable: The first event was not answered.
    """
    provoking = asyncio.create_task(_provoke(network, faults, pause, tell))
    try:
        await network.run()
    finally:
        provoking.cancel()
        await asyncio.gather(provoking, return_exceptions=True)


async def _provoke(network: SimulatedNetwork, faults: Sequence[str], pause: float, tell: Tell) -> None:
    turn = 0
    while faults:
        await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))
        if not network.statistics.sent:
            continue
        name = faults[turn % len(faults)]
        turn += 1
        seen = await CHIRPSTACK_FAULTS[name](network, random.choice(network.devices))
        network.statistics.faults[name] += 1
        tell(name, seen)
