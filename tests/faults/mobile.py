"""A device with a SIM, its subscriber, and a mobile core that we did not write: FreeRADIUS's radclient."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from span_events.wire.imei import canonical
from tests.bench.live import LiveDevice, LiveServer, Tail
from tests.bench.peers.radclient import ATTACH, SECRET, START, STOP, Reply, radclient
from tests.faults.scene import EXTENDED, Scene

NAS: Final = "pgw1"
"""What the configuration calls the mobile core; events do so too."""
SUSPECT: Final = "pgw2"
"""A mobile core for a single test of a wrong secret: of one core, a second within a minute is only counted."""
ADDRESSES: Final = {NAS: "127.0.0.1", SUSPECT: "127.0.0.2"}
SETTINGS: Final[dict[str, object]] = {
    "radius.port": 0,
    "radius.accounting_port": 0,
    "radius.nas": json.dumps(
        [{"name": name, "addresses": [host], "secret": SECRET} for name, host in ADDRESSES.items()]
    ),
}
"""For a server that this mobile core may ask."""
_NUMBERS: Final = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Sim:
    """A SIM in hardware."""

    imsi: str
    imei: str
    """15 digits."""

    @property
    def fields(self) -> dict[str, str]:
        """The same as radclient's input has it: the network adds the version of the software, and no check digit."""
        return {"3GPP-IMSI": f'"{self.imsi}"', "3GPP-IMEISV": f'"{self.imei[:14]}01"'}

    def in_hardware_of(self, other: Sim) -> Sim:
        """Put the SIM into other hardware."""
        return replace(self, imei=other.imei)


def new_sim() -> Sim:
    """Make numbers that no device has had: of the test network 001 01."""
    number = next(_NUMBERS)
    return Sim(f"00101{number:010}", canonical(f"00100100{number:06}"))


@dataclass(frozen=True, slots=True)
class MobileScene:
    """A device that is known by its SIM and hardware, and has no address before it attaches."""

    scene: Scene
    sim: Sim
    everything: Tail
    """A subscriber to all that happens, also to what belongs to nobody."""
    session: str = field(default_factory=lambda: f"C0000201{next(_NUMBERS):08X}")
    """Acct-Session-Id."""

    @property
    def server(self) -> LiveServer:
        """The server."""
        return self.scene.server

    @property
    def address(self) -> str:
        """What the mobile core gives the device: an address of this machine."""
        return self.scene.device.address

    async def ask(self, sim: Sim | None = None, *, secret: str = SECRET, without: str = "", nas: str = NAS) -> Reply:
        """Let the mobile core ask whether a SIM may attach: the device's, unless another one is given."""
        fields: Mapping[str, str | None] = ATTACH | (sim or self.sim).fields | ({without: None} if without else {})
        seconds, source = 0.5 if without else 5.0, ADDRESSES[nas]
        return await radclient(self._port("radius"), "auth", fields, secret=secret, seconds=seconds, source=source)

    async def account(
        self, usual: Mapping[str, str], sim: Sim | None = None, *, session: str = "", address: str = ""
    ) -> Reply:
        """Let the mobile core report a session; without an address, that of the device."""
        own = {"Acct-Session-Id": f'"{session or self.session}"', "Framed-IP-Address": address or self.address}
        fields: Mapping[str, str | None] = {**usual, **(sim or self.sim).fields, **own}
        return await radclient(self._port("radius-accounting"), "acct", fields)

    async def attach(self) -> dict[str, Any]:
        """Let the device attach as devices do; return the data of its ciotConnect."""
        accept = await self.ask()
        response = await self.account(START)

        assert (accept.kind, response.kind) == ("Access-Accept", "Accounting-Response")
        connected: dict[str, Any] = (await self.scene.published("ciotConnect"))["data"]
        return connected

    async def detach(self) -> None:
        """Let the device leave."""
        response = await self.account(STOP)

        assert response.kind == "Accounting-Response"

    def _port(self, listener: str) -> int:
        return int(self.server.addresses[listener].rpartition(":")[2])


@asynccontextmanager
async def open_mobile_scene(server: LiveServer) -> AsyncIterator[MobileScene]:
    """Make a collection with one device and two subscribers."""
    collection = await server.add_collection()
    sim = new_sim()
    device = await add_mobile(server, collection, sim)
    activity = f"/span/collections/{collection}/activity"
    async with server.tail(activity, EXTENDED) as tail, server.tail(query=EXTENDED) as everything:
        scene = Scene(server, device, tail)
        try:
            yield MobileScene(scene, sim, everything)
        finally:
            scene.close()
    assert await server.still_serves()


async def add_mobile(server: LiveServer, collection: str, sim: Sim) -> LiveDevice:
    """Make a device with a SIM and hardware; its address is what the mobile core will give it."""
    body = {"config": {"ciot": {"imsi": sim.imsi, "imei": sim.imei}}}
    made = await server.call("POST", f"/span/collections/{collection}/devices", body)
    return LiveDevice(made["deviceId"], collection, server.free_address())
