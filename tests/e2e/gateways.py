"""Gateways of a real server: made by the API, with certificates of the command line, played by a program."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.live import Credentials, Document, LiveDevice, LiveServer
from tests.bench.peers import gateway_client
from tests.bench.programs import PROGRAM, Program, run

BAND: Final = {"band": "868"}
"""The configuration of a new gateway."""
EUI: Final = {"devEui": "01"}
"""What it knows of a new device behind it."""


@dataclass(frozen=True, slots=True)
class LiveGateway:
    """A gateway of the server."""

    server: LiveServer
    id: str
    collection: str

    @property
    def path(self) -> str:
        """Its URL path."""
        return f"/span/collections/{self.collection}/gateways/{self.id}"

    async def status(self) -> str:
        """Ask the API whether it is connected."""
        return str((await self.server.call("GET", self.path))["status"])

    async def attach(self, device: LiveDevice, **params: str) -> None:
        """Put a device behind the gateway, or replace what the gateway knows of it; without params, take it away."""
        block = {"gatewayId": self.id, "params": params} if params else {}
        await self.server.call("PATCH", device.path, {"config": {"gateway": {self.id: block}}})

    async def certificate(self, folder: Path) -> Credentials:
        """Make a certificate with the command line."""
        environment = {
            "SPAN_API_ENDPOINT": f"http://{self.server.addresses['http']}",
            "SPAN_API_TOKEN": self.server.token,
            "SPAN_COLLECTION_ID": self.collection,
        }
        arguments = ("cert", "create", "--gateway", self.id, "--out", str(folder))
        ended = await run(PROGRAM, *arguments, environment=environment)
        assert ended.status == 0, ended.complaints
        return Credentials(folder / "cert.crt", folder / "key.pem", ended.output.strip())


async def add_gateway(server: LiveServer, collection: str) -> LiveGateway:
    """Make a gateway with the API."""
    body = {"name": "roof", "type": "custom", "config": {"user": {"params": BAND}}, "tags": {"floor": "3"}}
    made = await server.call("POST", f"/span/collections/{collection}/gateways", body)
    return LiveGateway(server, made["gatewayId"], collection)


async def add_device_behind(gateway: LiveGateway, **params: str) -> LiveDevice:
    """Make a device that has nothing but its block for a gateway."""
    body = {"config": {"gateway": {gateway.id: {"gatewayId": gateway.id, "params": params or EUI}}}}
    made = await gateway.server.call("POST", f"/span/collections/{gateway.collection}/devices", body)
    return LiveDevice(made["deviceId"], gateway.collection, "")


class GatewayProgram(Program):
    """
    A gateway that runs inside an ``async with`` block (`tests.bench.peers.gateway_client`).

    Args:
        roots: Whom it trusts, if not the root in its own certificate's file.
    """

    def __init__(self, server: LiveServer, files: Credentials, *, roots: Path | None = None) -> None:
        shown = (files.certificate, files.key, *(() if roots is None else (roots,)))
        super().__init__(
            *(sys.executable, "-I", gateway_client.__file__, server.addresses["gateways"]), *map(str, shown)
        )

    def do(self, what: str, **fields: Any) -> None:
        """Let it do something: ``connect``, ``close``, or send a part of ControlStreamRequest with these fields."""
        self.say(json.dumps({"do": what} | fields) + "\n")

    async def hears(self) -> Document:
        """Wait for what it hears next."""
        heard: Document = json.loads(await self.line())
        return heard
