"""Devices of `simulate chirpstack`, which it creates through the API, and deletes again."""

from __future__ import annotations

from collections.abc import Sequence

from span_events.cli.simulate.created import CreatedResources, is_marked, tags_of
from span_events.dialects.chirpstack.identity import EUI_TAG, eui_of
from span_events.simulator.chirpstack.network import EndDevice


class CreatedMeters(CreatedResources):
    """LoRaWAN devices, found by their EUI-64."""

    async def make(self, count: int) -> Sequence[EndDevice]:
        """See to it that the server knows so many devices, and return them."""
        await self.find_collection()
        wanted = {self._eui(number): f"meter-{number}" for number in range(1, count + 1)}
        missing = dict(wanted)
        for device in await self.devices():
            if missing.pop((device.get("tags") or {}).get(EUI_TAG, ""), None) is not None and is_marked(device):
                self.ours.append(str(device["deviceId"]))
        await self.create({eui: {"tags": {**tags_of(name), EUI_TAG: eui}} for eui, name in missing.items()})
        return [EndDevice(eui, f"simulated-{name}") for eui, name in wanted.items()]

    def _eui(self, number: int) -> str:
        return eui_of("simulated", f"{self.collection}-{number}")
