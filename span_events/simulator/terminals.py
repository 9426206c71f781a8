"""Terminals: devices of a simulation, switched on and off, with an address set by hand or from the mobile core."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from span_events.events.message import Transport
from span_events.simulator.cellular.mobile_core import MobileCore, Session
from span_events.simulator.cellular.modems import Modem, modem_at
from span_events.simulator.coap import Timing
from span_events.simulator.devices import CoapDevice, SimulatedDevice, Statistics, UdpDevice, readings
from span_events.simulator.sockets import Address, AddressUnavailable


@dataclass(frozen=True, slots=True)
class Member:
    """A device that a fleet is to have."""

    address: str
    """IPv4 source address, unless a mobile core gives another one."""
    transport: Transport
    version: str = ""
    """Of the firmware that it runs at first, if it updates that; empty if it does not."""

    @property
    def modem(self) -> Modem:
        """SIM and hardware for attach requests."""
        return modem_at(self.address)


class Terminal:
    """
    One device of a fleet.

    Args:
        target: Address of the server.
        core: Mobile core that gives the address; None for one set by hand.
        timing: Retransmission of CoAP requests.
    """

    def __init__(
        self, member: Member, target: Address, statistics: Statistics, *, core: MobileCore | None, timing: Timing
    ) -> None:
        self.member = member
        self.version = member.version
        """Of the firmware that it runs; empty if it never updates that."""
        self.muted = False
        """Set by the fault ``silent``: this device sends nothing more."""
        self.is_aside = False
        """A fault plays with it; the fleet leaves it alone."""
        self._target = target
        self._statistics = statistics
        self._core = core
        self._timing = timing
        self._session: Session | None = None
        self._device: SimulatedDevice | None = None
        self._payloads = readings()

    @property
    def is_on(self) -> bool:
        """True while the terminal has an address."""
        return self._device is not None and (self._session is None or self._session.is_open)

    @property
    def address(self) -> str:
        """The address that it has, had, or is to have."""
        return self._session.address if self._session is not None else self.member.address

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the fleet from switching it on, and from sending."""
        self.is_aside = True
        try:
            yield
        finally:
            self.is_aside = False

    async def switch_on(self, *, choice: str = "") -> None:
        """
        Attach if there is a mobile core, and open the socket.

        Args:
            choice: Address from the core, in place of the one from the server.

        Raises:
            AddressUnavailable: The address is not one of this machine.
            AttachRefused: The server rejects the attach request.
            MobileCoreUnanswered: The server did not answer.
        """
        self.close()
        if self._core is None:
            return self.open()
        address = choice or self.member.address
        self._session = session = await self._core.attach(self.member.modem, choice=address, insist=bool(choice))
        self._statistics.attached += 1
        try:
            return self.open()
        except AddressUnavailable:
            await self._core.detach(session)
            raise

    async def switch_off(self) -> None:
        """
        Detach if there is a mobile core, and close the socket.

        Raises:
            MobileCoreUnanswered: The server did not answer; the terminal is off all the same.
        """
        self.close()
        if self._core is not None and self._session is not None:
            await self._core.detach(self._session)

    def lose(self) -> None:
        """Switch the terminal off without a detach: neither server nor mobile core notice."""
        self.close()
        if self._core is not None and self._session is not None:
            self._core.forget(self._session)

    async def report(self) -> None:
        """Send the next message, and wait for its reply if the transport has replies; nothing when it is off."""
        if self._device is not None:
            await self._device.send(next(self._payloads))

    def open(self) -> None:
        """
        Open the socket.

        Raises:
            AddressUnavailable: The address is not one of this machine.
        """
        if self.member.transport is Transport.COAP:
            self._device = CoapDevice(self.address, self._target, self._statistics, timing=self._timing)
        else:
            self._device = UdpDevice(self.address, self._target, self._statistics)

    def close(self) -> None:
        """Release the socket without a detach; idempotent."""
        if self._device is not None:
            self._device.close()
            self._device = None
