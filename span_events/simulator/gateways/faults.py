"""
Faults that a simulated gateway provokes on request.

Every fault is a coroutine function that takes a `GatewayScene` and returns a report for people.
The docstring is the fault's help text. ``GATEWAY_FAULTS`` lists all faults.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from span_events.ids import render
from span_events.simulator.gateways.control_stream import ControlStream, Credentials, NotConnected
from span_events.simulator.gateways.gateway import JITTER, Sensor, SimulatedGateway, Tell

PATIENCE: Final = 30.0
"""Seconds that the server has to detect a fault."""
NOT_PROTOBUF: Final = b"\xff\xff\xff"
"""A protobuf tag without an end."""


@dataclass(frozen=True, slots=True)
class GatewayScene:
    """Gateway and stream that a fault acts on."""

    gateway: SimulatedGateway
    stream: ControlStream
    """Control stream that the gateway serves."""
    wrong: Credentials | None = None
    """Certificate of another owner, and its key."""
    patience: float = PATIENCE


GatewayFault = Callable[[GatewayScene], Awaitable[str]]


async def reset(scene: GatewayScene) -> str:
    """A gateway whose connection is reset, as by a firewall or a restarting router."""
    scene.stream.reset()
    return "TCP reset"


async def vanish(scene: GatewayScene) -> str:
    """A gateway that stops answering while its socket stays open, as after a hang or the loss of its network."""
    scene.stream.freeze()
    return f"answered nothing any more; {await _ending(scene)}"


async def foreign_device(scene: GatewayScene) -> str:
    """A gateway that sends a message of a device that is not behind it."""
    device_id = render(random.getrandbits(62) | 1 << 61)
    await scene.gateway.send_reading(device_id, Sensor({}, 0, 0))
    return f"sent a message of device {device_id}"


async def twice(scene: GatewayScene) -> str:
    """A gateway that connects twice, as with a copied certificate; the newer connection replaces the older one."""
    scene.gateway.take_over(await scene.gateway.open())
    return f"connected once more; {await _ending(scene)}"


async def bad_message(scene: GatewayScene) -> str:
    """A gateway that sends octets that are not a protobuf message."""
    await scene.stream.send_octets(NOT_PROTOBUF)
    return f"sent {NOT_PROTOBUF.hex()}; {await _ending(scene)}"


async def wrong_certificate(scene: GatewayScene) -> str:
    """A gateway that shows the certificate of one of its devices instead of its own."""
    assert scene.wrong is not None, "this fault needs a certificate of another owner"
    try:
        stream = await scene.gateway.open(scene.wrong)
    except NotConnected as exc:
        return str(exc)
    await stream.close()
    return "was let in"


GATEWAY_FAULTS: Final[Mapping[str, GatewayFault]] = MappingProxyType(
    {
        "reset": reset,
        "vanish": vanish,
        "foreignDevice": foreign_device,
        "twice": twice,
        "badMessage": bad_message,
        "wrongCertificate": wrong_certificate,
    }
)
"""Faults by their names for ``simulate gateway --fault``."""
NEED_CERTIFICATE: Final = frozenset(("wrongCertificate",))
"""Faults that need the certificate of another owner."""


def meaning_of(name: str) -> str:
    """Return the sentence that documents a fault."""
    return (GATEWAY_FAULTS[name].__doc__ or "").strip()


async def run_with_faults(
    gateway: SimulatedGateway, faults: Sequence[str], *, pause: float, tell: Tell, wrong: Credentials | None = None
) -> None:
    """
    Run a gateway until cancelled, and provoke faults one after the other.

    Args:
        faults: Names in `GATEWAY_FAULTS`.
        pause: Mean seconds between two faults; the first comes after one such pause.
        tell: Called with the name and the report of each fault.
        wrong: For `NEED_CERTIFICATE`.

    Raises:
        NotConnected: The first connection failed.
    """
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(gateway.run())
            group.create_task(_provoke(gateway, faults, pause, tell, wrong))
    except ExceptionGroup as exc:
        known, others = exc.split(NotConnected)
        if known is None or others is not None:
            raise
        raise known.exceptions[0] from None


async def _provoke(
    gateway: SimulatedGateway, faults: Sequence[str], pause: float, tell: Tell, wrong: Credentials | None
) -> None:
    turn = 0
    while faults:
        await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))
        if gateway.stream is None:  # it reconnects; the fault keeps its turn
            continue
        name = faults[turn % len(faults)]
        turn += 1
        try:
            seen = await GATEWAY_FAULTS[name](GatewayScene(gateway, gateway.stream, wrong))
        except NotConnected as exc:  # the server is busy or down: the gateway continues
            seen = f"not provoked, {exc}"
        else:
            gateway.statistics.faults[name] += 1
        tell(name, seen)


async def _ending(scene: GatewayScene) -> str:
    """Wait until the server ends the stream, and return its status; close the stream if the server does not."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(scene.patience):
            end = await scene.stream.over()
    except TimeoutError:
        scene.stream.abort()
        return f"the server did not mind for {scene.patience:.0f} s"
    return f"after {loop.time() - began:.1f} s: {end}"
