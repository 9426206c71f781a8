"""Simulated devices: each sends small messages from its own address, and reads downstream messages."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from span_events.events.message import Transport
from span_events.simulator.coap import CoapClient, Timing
from span_events.simulator.sockets import Address, DeviceSocket, reachable
from span_events.wire.coap.messages import name_of_code

PATH: Final = "telemetry"
"""Path of the devices' CoAP POSTs; any path is upstream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Addresses of a server's listeners; None for one that is off. A wildcard address becomes loopback."""

    datagrams: Address | None = None
    coap: Address | None = None

    def __post_init__(self) -> None:
        """Make addresses that one can send to."""
        for name in ("datagrams", "coap"):
            target: Address | None = getattr(self, name)
            if target is not None:
                object.__setattr__(self, name, reachable(target))

    def of(self, transport: Transport) -> Address | None:
        """Return where devices of a transport send to."""
        return self.coap if transport is Transport.COAP else self.datagrams


@dataclass(slots=True)
class Statistics:
    """Totals of all devices of a simulation."""

    sent: int = 0
    """Messages, each counted once however often it was sent again."""
    over_udp: int = 0
    """Of these, the ones over plain UDP, which has no answers."""
    octets: int = 0
    answered: int = 0
    """CoAP requests that got a 2.xx."""
    refused: Counter[str] = field(default_factory=Counter)
    """CoAP requests that got another reply, by its code (``4.29``)."""
    unanswered: int = 0
    """CoAP requests without any reply, after all retransmissions."""
    retransmissions: int = 0
    downstream: int = 0
    """Received downstream payloads."""
    downstream_octets: int = 0
    unreachable: int = 0
    """Datagrams for which the target's host said that nobody listens."""
    attached: int = 0
    """Times that the mobile core gave a device an address."""
    not_attached: int = 0
    """Times that it did not."""
    updated: int = 0
    """Firmware updates that went well."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that were provoked, by name."""


class SimulatedDevice(Protocol):
    """A device at an address."""

    async def send(self, payload: bytes) -> None:
        """Send one message, and wait for its reply if the transport has replies."""

    def close(self) -> None:
        """Release the socket; idempotent."""


class UdpDevice:
    """One datagram is one message; each datagram received is a downstream message."""

    def __init__(self, address: str, target: Address, statistics: Statistics) -> None:
        self._statistics = statistics
        self._told = 0
        self._socket = DeviceSocket(address, target, self._received)

    async def send(self, payload: bytes) -> None:
        """Send one message; nothing is awaited, plain UDP has no replies."""
        self._statistics.sent += 1
        self._statistics.over_udp += 1
        self._statistics.octets += len(payload)
        self._socket.send(payload)
        self._statistics.unreachable += self._socket.refused - self._told
        self._told = self._socket.refused

    def close(self) -> None:
        """Release the socket; idempotent."""
        self._socket.close()

    def _received(self, datagram: bytes) -> None:
        self._statistics.downstream += 1
        self._statistics.downstream_octets += len(datagram)


class CoapDevice:
    """Confirmable POSTs, one at a time; the payload of a reply is a downstream message."""

    def __init__(
        self, address: str, target: Address, statistics: Statistics, *, path: str = PATH, timing: Timing | None = None
    ) -> None:
        self._statistics = statistics
        self._path = path
        self._client = CoapClient(address, target, timing=timing)

    async def send(self, payload: bytes) -> None:
        """Send one message and wait for its reply, up to all retransmissions. Cancelling loses the reply."""
        statistics = self._statistics
        statistics.sent += 1
        statistics.octets += len(payload)
        again, refused = self._client.retransmissions, self._client.socket.refused
        try:
            reply = await self._client.post(self._path, payload)
        finally:
            statistics.retransmissions += self._client.retransmissions - again
            statistics.unreachable += self._client.socket.refused - refused
        if reply is None:
            statistics.unanswered += 1
        elif reply.code >> 5 != 2:
            statistics.refused[name_of_code(reply.code)] += 1
        else:
            statistics.answered += 1
            if reply.payload:
                statistics.downstream += 1
                statistics.downstream_octets += len(reply.payload)

    def close(self) -> None:
        """Release the socket; idempotent."""
        self._client.close()


def readings() -> Iterator[bytes]:
    """Generate payloads of a small sensor, without end: about 35 octets of JSON."""
    temperature, number = random.uniform(15, 25), 0
    while True:
        number += 1
        temperature += random.uniform(-0.3, 0.3)
        yield f'{{"n":{number},"temperature":{temperature:.1f}}}'.encode()
