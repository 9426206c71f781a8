"""A fleet of simulated devices that attach, send at a rate, update themselves and provoke faults, until cancelled."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final

from span_events.errors import SpanEventsError
from span_events.simulator.cellular.mobile_core import AttachRefused, MobileCore, MobileCoreUnanswered
from span_events.simulator.coap import Timing
from span_events.simulator.devices import Statistics, Targets
from span_events.simulator.faults import FAULTS, NEED_COAP, NEED_CORE, NEED_UPDATE
from span_events.simulator.firmware.device import Outcome
from span_events.simulator.firmware.updates import Pace, Updates
from span_events.simulator.scene import Scene
from span_events.simulator.sockets import AddressUnavailable
from span_events.simulator.terminals import Member, Terminal

JITTER: Final = 0.5
"""A pause is its mean times 1 - JITTER to 1 + JITTER."""
MAX_BACKLOG: Final = 1.0
"""Seconds that a device may be behind its schedule; older messages are skipped, not sent in a burst."""
UPDATES_BETWEEN: Final = 2
"""Updates that go well after each that does not, if faults of updates are asked for."""
RETRY: Final = 10.0
"""Seconds at least before a device that was not let in tries again."""


class NoTarget(SpanEventsError):
    """Devices of a transport have nowhere to send to."""

    code = "no_target"
    exit_status = 2
    hint = "Give --datagrams HOST:PORT for UDP, --coap HOST:PORT for CoAP, and --core HOST:PORT for RADIUS."


class NoUpdate(SpanEventsError):
    """A fault of updates is asked for, and no device updates itself."""

    code = "no_update"
    exit_status = 2
    hint = "Give --firmware, too."


class Simulation:
    """
    Devices that send until cancelled.

    Args:
        members: The devices; each address, by hand or from the core, must be one of this machine.
        targets: Addresses of the server's listeners.
        rate: Messages a second of all devices together.
        core: Mobile core that gives the devices their addresses; without it they are set by hand.
        faults: Names from `faults.FAULTS`, provoked one after the other, each by a random device; those of
            updates by the first devices that update themselves, and some later ones.
        fault_pause: Mean seconds between two faults; the first comes after one such pause.
        step_pause: Seconds between the steps of a fault that has several.
        pace: Pace of the updates of devices with a version.
        tell: Called with a fault's name and its outcome; with ``firmware`` when a device has updated itself;
            with ``attach`` when the server rejects an attach request, once for each reason.
        timing: Retransmission of CoAP devices.
    """

    def __init__(
        self,
        members: Sequence[Member],
        targets: Targets,
        *,
        rate: float,
        core: MobileCore | None = None,
        faults: Sequence[str] = (),
        fault_pause: float = 5.0,
        step_pause: float = 0.0,
        pace: Pace | None = None,
        tell: Callable[[str, str], None] | None = None,
        timing: Timing | None = None,
    ) -> None:
        assert members, "a fleet has devices"
        assert rate > 0, "a rate is positive"
        self.statistics = Statistics()
        self._members = tuple(members)
        self._targets = targets
        self._pause = len(self._members) / rate
        self._core = core
        self._faults = tuple(each for each in faults if each not in NEED_UPDATE)
        self._mishaps = tuple(each for each in faults if each in NEED_UPDATE)
        self._fault_pause = fault_pause
        self._step_pause = step_pause
        self._tell = tell
        self._told: set[str] = set()
        self._timing = timing or Timing()
        self._pace = pace or Pace()
        self._updates: Updates | None = None
        self._terminals: list[Terminal] = []

    def bind(self) -> None:
        """
        Open all sockets of devices with an address, once; `run` sends the first datagram.

        Devices with an address from the core open theirs when they have it.

        Raises:
            AddressUnavailable: A device's address is not one of this machine.
            NoTarget: The listener for a device or a fault is off.
            NoUpdate: A fault needs a firmware update, and no device has a version.
        """
        if self._terminals:
            return
        updating = any(each.version for each in self._members)
        if updating and self._targets.coap is None:
            raise NoTarget("Firmware is reported and downloaded in CoAP, but no coap listener is known")
        if self._mishaps and not updating:
            raise NoUpdate(f"The fault {self._mishaps[0]} happens in a firmware update, but no device updates itself")
        for name in self._faults:
            if name in NEED_COAP and self._targets.coap is None:
                raise NoTarget(f"The fault {name} is spoken in CoAP, but no coap listener is known")
            if name in NEED_CORE and self._core is None:
                raise NoTarget(f"The fault {name} happens at the mobile core, but no radius listener is known")
        try:
            self._terminals = [self._make(member) for member in self._members]
            if updating and self._targets.coap is not None:
                self._updates = Updates(self._targets.coap, pace=self._pace, timing=self._timing)
                self._updates.add(self._terminals)
            if self._core is not None:
                self._core.bind()
            else:
                for each in self._terminals:
                    each.open()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every socket; idempotent."""
        for each in self._terminals:
            each.close()
        self._terminals.clear()
        if self._updates is not None:
            self._updates.close()
        if self._core is not None:
            self._core.close()

    async def run(self) -> None:
        """
        Send until cancelled. Cancelling drops exchanges under way and closes every socket.

        Raises:
            AddressUnavailable: A device's address by hand is not one of this machine.
            MobileCoreUnanswered: The server did not answer the mobile core's Accounting-On.
            NoTarget: The listener for a device or a fault is off.
            NoUpdate: A fault needs a firmware update, and no device has a version.
        """
        self.bind()
        try:
            if self._core is not None:
                await self._core.start()
            async with asyncio.TaskGroup() as group:
                interims = [group.create_task(self._core.run())] if self._core is not None else []
                work = [group.create_task(self._send(each)) for each in self._terminals]
                if self._faults:
                    work.append(group.create_task(self._provoke_all()))
                if self._updates is not None:
                    work.append(group.create_task(self._update(self._updates)))
                await asyncio.wait(work)
                for each in interims:
                    each.cancel()
        finally:
            self.close()

    def _make(self, member: Member) -> Terminal:
        target = self._targets.of(member.transport)
        if target is None:
            transport = member.transport
            raise NoTarget(f"{member.address} is to send over {transport}, but no {transport} listener is known")
        return Terminal(member, target, self.statistics, core=self._core, timing=self._timing)

    async def _send(self, terminal: Terminal) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + random.uniform(0, self._pause)  # so that not all begin at once
        while not terminal.muted:
            # Always a turn for others, also when this device is behind.
            await asyncio.sleep(max(0.0, due - loop.time()))
            if terminal.muted:
                return
            if not terminal.is_aside:
                if terminal.is_on or await self._is_let_in(terminal):
                    await terminal.report()
                else:
                    due = max(due, loop.time() + RETRY)
            due = max(due + _jittered(self._pause), loop.time() - MAX_BACKLOG)

    async def _is_let_in(self, terminal: Terminal) -> bool:
        try:
            await terminal.switch_on()
        except (AddressUnavailable, AttachRefused, MobileCoreUnanswered) as exc:
            self.statistics.not_attached += 1
            way = str(exc) if isinstance(exc, AttachRefused) else exc.code
            if self._tell is not None and way not in self._told:
                self._told.add(way)
                self._tell("attach", f"{terminal.member.modem.imsi} is not let in: {exc}")
            return False
        return True

    async def _provoke_all(self) -> None:
        for name in itertools.cycle(self._faults):
            await asyncio.sleep(_jittered(self._fault_pause))
            if all(each.muted for each in self._terminals):
                return
            awake = [each for each in self._terminals if each.is_on and not each.muted and not each.is_aside]
            if awake:
                device, *others = random.sample(awake, k=min(2, len(awake)))
                await self._provoke(name, device, others[0] if others else None)

    async def _provoke(self, name: str, device: Terminal, neighbour: Terminal | None = None) -> None:
        scene = Scene(
            device,
            self._targets,
            stranger_to([member.address for member in self._members]),
            self._timing,
            core=self._core,
            updates=self._updates,
            neighbour=neighbour,
            pause=self._step_pause,
        )
        try:
            seen = await FAULTS[name](scene)
        except SpanEventsError as exc:  # no socket left, or the server down: the devices go on
            seen = f"not provoked, {exc}"
        else:
            self.statistics.faults[name] += 1
        if self._tell is not None:
            self._tell(name, seen)

    async def _update(self, updates: Updates) -> None:
        """Let one device after the other update itself, some of them with a fault."""
        turns = itertools.cycle(each for name in self._mishaps for each in (name, *[""] * UPDATES_BETWEEN))
        while not updates.is_done:
            await asyncio.sleep(_jittered(self._pace.device))
            terminal = updates.next()
            if terminal is None:
                continue
            mishap = "" if updates.has_stopped(terminal) else next(turns, "")
            if mishap:
                await self._provoke(mishap, terminal)
            else:
                await self._let_update(updates, terminal)

    async def _let_update(self, updates: Updates, terminal: Terminal) -> None:
        try:
            ended = await updates.update(terminal)
        except AddressUnavailable as exc:
            seen = f"{terminal.address} is not updated: {exc}"
        else:
            seen = f"{terminal.address} {ended.outcome.value}: {ended.detail}"
            self.statistics.updated += ended.outcome is Outcome.UPDATED
        if self._tell is not None:
            self._tell("firmware", seen)


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
    """Return an address of this machine that none of these devices has: the one before their lowest."""
    taken = {ipaddress.IPv4Address(each) for each in addresses}
    lowest = min(taken)
    # 127.0.0.0 itself cannot send.
    usable = lowest.is_loopback and lowest > ipaddress.IPv4Address("127.0.0.1")
    return str(lowest - 1 if usable else max(taken) + 1)


def _jittered(pause: float) -> float:
    return pause * random.uniform(1 - JITTER, 1 + JITTER)
