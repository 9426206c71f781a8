"""Resources that `simulate gateway` creates through the API, and deletes again."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import Any

from span_events.cli.resources.certs import octets
from span_events.cli.resources.common import collection_path
from span_events.cli.resources.gateways import gateway_path
from span_events.cli.simulate import progress
from span_events.cli.simulate.created import CreatedResources, each_of, is_marked, tags_of
from span_events.client.api import Client
from span_events.errors import LimitReached, NotFound
from span_events.simulator.gateways.control_stream import Credentials


class CreatedGateway(CreatedResources):
    """A gateway, and the devices behind it."""

    def __init__(self, client: Client, collection: str) -> None:
        super().__init__(client, collection)
        self.gateway = ""
        """Its id."""
        self.behind: list[str] = []
        """Ids of its devices, from this run and earlier ones."""

    async def make(self, count: int) -> None:
        """See to it that the server knows the gateway, and so many devices behind it."""
        await self.find_collection()
        await each_of(self._find_gateway, [self.collection])
        for device in await self.devices():
            if self.gateway in ((device.get("config") or {}).get("gateway") or {}):
                self.behind.append(str(device["deviceId"]))
                if is_marked(device):
                    self.ours.append(str(device["deviceId"]))
        known = len(self.ours)
        numbers = range(len(self.behind) + 1, count + 1)
        await self.create({str(number): self._document(number) for number in numbers})
        self.behind += self.ours[known:]

    async def credentials(self, **owner: str) -> Credentials:
        """
        Make a certificate.

        Args:
            owner: ``gatewayId`` or ``deviceId``.
        """
        try:
            reply = await self.client.request("POST", f"{collection_path(self.collection)}/certificates/create", owner)
        except LimitReached as exc:
            exc.hint = "Each run makes one: --cleanup takes the gateway and its certificates away, and begins anew."
            raise
        return Credentials(octets(reply, "certificate") + octets(reply, "chain"), octets(reply, "privateKey"))

    async def delete(self) -> None:
        """Delete the gateway and the `CreatedResources`; report leftovers on failure or cancellation."""
        try:
            if self.gateway:
                await each_of(self._delete_gateway, [self.gateway])
        finally:
            if self.gateway:
                progress.note(f"the gateway remains: span-events gateway delete -c {self.collection} {self.gateway}")
            await super().delete()

    async def _find_gateway(self, collection: str) -> None:
        """Reuse the gateway of an earlier run that has ended, or create one."""
        for each in (await self.client.request("GET", gateway_path(collection))).get("gateways") or ():
            if is_marked(each) and each.get("status") != "online":
                self.gateway = str(each["gatewayId"])
                return
        body = {"name": "simulated", "type": "custom", "tags": tags_of("gateway")}
        made = await self.client.request("POST", gateway_path(collection), body)
        self.gateway = str(made["gatewayId"])

    async def _delete_gateway(self, gateway: str) -> None:
        with suppress(NotFound):  # deleted meanwhile by another client
            await self.client.request("DELETE", gateway_path(self.collection, gateway))
        self.gateway = ""

    def _document(self, number: int) -> dict[str, Any]:
        params = {"devEui": secrets.token_hex(8)}
        block = {self.gateway: {"gatewayId": self.gateway, "params": params}}
        return {"tags": tags_of(f"sensor-{number}"), "config": {"gateway": block}}
