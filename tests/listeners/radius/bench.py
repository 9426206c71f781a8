"""The RADIUS listener on real sockets over a real fleet, with radclient and raw sockets as the mobile core."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from span_events.config import RadiusConfig
from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.radius.listener import Radius
from span_events.registry.model import Device
from span_events.wire.radius.packets import Code
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.peers.radclient import SECRET, Fields, Reply, radclient
from tests.listeners.coap.bench import RawClient
from tests.wire.radius.building import access_request, accounting_request, attribute, of_3gpp

IMSI: Final = "242016000000001"
IMEI: Final = "356938035643809"
ADDRESS: Final = "10.64.0.11"
NAS: Final[dict[str, Any]] = {"name": "pgw1", "addresses": ["127.0.0.1"], "secret": SECRET}
LENIENT: Final[dict[str, Any]] = {
    "name": "pgw2",
    "addresses": ["127.0.0.2"],
    "secret": "another secret of the tests",
    "require_message_authenticator": False,
}
"""A NAS without required signatures."""
BOTH: Final[dict[str, Any]] = {"nas": [NAS, LENIENT]}

PROBE: Final = 255
"""Identifier of the requests whose answer shows that the server has handled all earlier ones."""
UNKNOWN_STATUS: Final = attribute(40, bytes((0, 0, 0, 9)))

STRANGER: Final = {"3GPP-IMSI": '"242016000009999"', "3GPP-IMEISV": '"8612345678901202"'}
SIGNATURE: Final[dict[str, str | None]] = {"Message-Authenticator": None}
"""Omits the attribute."""


def reporting(status: int, session: str = "C0000201A0000001", **options: Any) -> bytes:
    """Encode an Accounting-Request of the device: 1 is Start, 2 is Stop."""
    device = of_3gpp((1, IMSI.encode())) + attribute(8, bytes(map(int, ADDRESS.split("."))))
    state = attribute(40, status.to_bytes(4, "big")) + attribute(44, session.encode())
    return accounting_request(device + state, **options)


def asking(imsi: str = IMSI, **options: Any) -> bytes:
    """An Access-Request for a SIM."""
    return access_request(of_3gpp((1, imsi.encode())), **options)


class RadiusBench:
    """A listener, its fleet, and a device with SIM, hardware and address."""

    def __init__(self, fleet: FleetBench, listener: Radius, device: Device) -> None:
        self.fleet = fleet
        self.listener = listener
        self.device = device
        self.authentication = _port(listener.address)
        self.accounting = _port(listener.accounting_address)
        self._clients: list[RawClient] = []
        self._probers: dict[bool, RawClient] = {}

    async def ask(self, fields: Fields | dict[str, str], **options: Any) -> Reply:
        """Send an Access-Request with radclient."""
        return await radclient(self.authentication, "auth", fields, **options)

    async def tell(self, fields: Fields | dict[str, str], **options: Any) -> Reply:
        """Send an Accounting-Request with radclient."""
        return await radclient(self.accounting, "acct", fields, **options)

    def client(self, host: str = "127.0.0.1", *, accounting: bool = False) -> RawClient:
        """Open a socket to one of the ports."""
        client = RawClient(host, ("127.0.0.1", self.accounting if accounting else self.authentication))
        self._clients.append(client)
        return client

    async def silent(self, client: RawClient, *datagrams: bytes, accounting: bool = False) -> bool:
        """
        Send datagrams, then a probe of the NAS at 127.0.0.1; return whether only the probe was answered.

        The server answers in order, so that silence needs no time limit. For accounting the probe has a status
        that the server does not know.
        """
        if accounting not in self._probers:
            self._probers[accounting] = self.client(accounting=accounting)
        prober = self._probers[accounting]
        for datagram in datagrams:
            client.send(datagram)
        if accounting:
            prober.send(accounting_request(UNKNOWN_STATUS, identifier=PROBE))
        else:
            prober.send(access_request(code=Code.STATUS_SERVER, identifier=PROBE))
        answer = await prober.receive()
        assert answer[1] == PROBE
        return client.take() is None

    def metric(self, name: str, label: str = "") -> float:
        """Read a metric of the listener."""
        (found,) = [each.value() for each in self.listener.metrics() if each.name == name]
        return found[label] if not isinstance(found, int | float) else found

    def outcome(self, name: str) -> float:
        """Return the number of requests with an outcome."""
        return self.metric("radius_requests", name)

    def close(self) -> None:
        """Close the sockets."""
        for client in self._clients:
            client.close()


@asynccontextmanager
async def radius_bench(
    folder: Path, *, radius: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[RadiusBench]:
    """Start a listener on free ports, with one NAS at 127.0.0.1 unless the settings say otherwise."""
    async with fleet_bench(folder, **settings) as fleet:
        change = DeviceChange(imsi=IMSI, imei=IMEI, allocated_ip=ADDRESS)
        device = await fleet.devices.create(await fleet.collection(), change, cause=CAUSE)
        fleet.activities.clear()
        config = RadiusConfig.model_validate({"port": 0, "accounting_port": 0, "nas": [NAS], **(radius or {})})
        listener = Radius(config, cellular=fleet.cellular, clock=fleet.clock)
        await listener.start()
        running = asyncio.ensure_future(listener.run())
        bench = RadiusBench(fleet, listener, device)
        try:
            yield bench
        finally:
            bench.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await listener.stop()
        assert listener.defects == 0


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
