"""A fleet of simulated devices that send at a rate, and provoke faults, until cancelled."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final

from span_events.errors import SpanEventsError
from span_events.events.message import Transport
from span_events.simulator.coap import Timing
from span_events.simulator.devices import CoapDevice, SimulatedDevice, Statistics, Targets, UdpDevice, readings
from span_events.simulator.faults import FAULTS, NEED_COAP, Scene
from span_events.simulator.sockets import AddressUnavailable

JITTER: Final = 0.5
"""A pause is its mean times 1 - JITTER to 1 + JITTER."""
MAX_BACKLOG: Final = 1.0
"""Seconds that a device may be behind its schedule; what is older is skipped, not sent in a burst."""

Member = tuple[str, Transport]
"""Address of a device, and how it sends."""


class NoTarget(SpanEventsError):
    """Devices of a transport have nowhere to send to."""

    code = "no_target"
    exit_status = 2
    hint = "Give --datagrams HOST:PORT for UDP and --coap HOST:PORT for CoAP."


class Fleet:
    """
    Devices that send until cancelled.

    Args:
        members: Addresses and transports; each address must be one of this machine.
        targets: Where the server listens.
        rate: Messages a second of all devices together.
        faults: Names out of `faults.FAULTS`, provoked one after the other, each by a device at random.
        fault_pause: Mean seconds between two faults; the first comes after one such pause.
        on_fault: Called with a fault's name and what it did and saw.
        timing: When CoAP devices send again.
    """

    def __init__(
        self,
        members: Sequence[Member],
        targets: Targets,
        *,
        rate: float,
        faults: Sequence[str] = (),
        fault_pause: float = 5.0,
        on_fault: Callable[[str, str], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        assert members, "a fleet has devices"
        assert rate > 0, "a rate is positive"
        self.statistics = Statistics()
        self._members = tuple(members)
        self._targets = targets
        self._pause = len(self._members) / rate
        self._faults = tuple(faults)
        self._fault_pause = fault_pause
        self._on_fault = on_fault
        self._timing = timing or Timing()
        self._devices: list[SimulatedDevice] = []

    def bind(self) -> None:
        """
        Open every device's socket, unless that is done already; nothing is sent before `run`.

        Raises:
            AddressUnavailable: A device's address is not one of this machine.
            NoTarget: A device or a fault has nowhere to send to.
        """
        if self._devices:
            return
        for name in self._faults:
            if name in NEED_COAP and self._targets.coap is None:
                raise NoTarget(f"The fault {name} is spoken in CoAP, but no coap listener is known")
        try:
            for address, transport in self._members:
                self._devices.append(self._open(address, transport))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every socket; idempotent."""
        for device in self._devices:
            device.close()
        self._devices.clear()

    async def run(self) -> None:
        """
        Send until cancelled. Cancelling loses what is under way and closes every socket.

        Raises:
            AddressUnavailable: A device's address is not one of this machine.
            NoTarget: A device or a fault has nowhere to send to.
        """
        self.bind()
        try:
            async with asyncio.TaskGroup() as group:
                for device in self._devices:
                    group.create_task(self._send(device))
                if self._faults:
                    group.create_task(self._provoke(self._devices))
        except ExceptionGroup as exc:
            known, others = exc.split(SpanEventsError)
            if known is None or others is not None:
                raise
            raise known.exceptions[0] from None
        finally:
            self.close()

    def _open(self, address: str, transport: Transport) -> SimulatedDevice:
        target = self._targets.of(transport)
        if target is None:
            raise NoTarget(f"{address} is to send over {transport}, but no {transport} listener is known")
        if transport is Transport.COAP:
            return CoapDevice(address, target, self.statistics, timing=self._timing)
        return UdpDevice(address, target, self.statistics)

    async def _send(self, device: SimulatedDevice) -> None:
        loop = asyncio.get_running_loop()
        payloads = readings()
        due = loop.time() + random.uniform(0, self._pause)  # so that not all begin at once
        while not device.muted:
            # Always a turn for others, also when this device is behind.
            await asyncio.sleep(max(0.0, due - loop.time()))
            if device.muted:
                return
            await device.send(next(payloads))
            due = max(due + _jittered(self._pause), loop.time() - MAX_BACKLOG)

    async def _provoke(self, devices: Sequence[SimulatedDevice]) -> None:
        stranger = stranger_to([address for address, _ in self._members])
        for name in itertools.cycle(self._faults):
            await asyncio.sleep(_jittered(self._fault_pause))
            awake = [device for device in devices if not device.muted]
            if not awake:
                return
            scene = Scene(random.choice(awake), self._targets, stranger, self._timing)
            try:
                seen = await FAULTS[name](scene)
            except AddressUnavailable as exc:  # the stranger's address, or no socket left: the devices go on
                seen = f"not provoked, {exc}"
            else:
                self.statistics.faults[name] += 1
            if self._on_fault is not None:
                self._on_fault(name, seen)


def addresses_from(first: str, count: int) -> list[str]:
    """
    List addresses, one after the other.

    Raises:
        ValueError: The first is not an IPv4 address, or the list would leave 127.0.0.0/8 where it began.
    """
    start = ipaddress.IPv4Address(first)
    listed = [start + offset for offset in range(count)]
    if start.is_loopback and not listed[-1].is_loopback:
        raise ValueError(f"{count} addresses from {first} on go beyond 127.0.0.0/8")
    return [str(each) for each in listed]


def stranger_to(addresses: Sequence[str]) -> str:
    """Return an address of this machine that none of these devices has: the one before the lowest of them."""
    taken = {ipaddress.IPv4Address(each) for each in addresses}
    lowest = min(taken)
    # 127.0.0.0 itself cannot send.
    usable = lowest.is_loopback and lowest > ipaddress.IPv4Address("127.0.0.1")
    return str(lowest - 1 if usable else max(taken) + 1)


def _jittered(pause: float) -> float:
    return pause * random.uniform(1 - JITTER, 1 + JITTER)
