"""Simulated ChirpStack server: LoRaWAN devices that join, send and answer, and the events that it reports of them."""

from __future__ import annotations

import asyncio
import random
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from span_events.dialects.chirpstack.event import render_rfc3339
from span_events.dialects.chirpstack.identity import eui_of, uuid_of
from span_events.dialects.chirpstack.rules import Kind
from span_events.errors import RequestError, ServerUnreachable

JITTER: Final = 0.5
"""Relative jitter: a pause lasts between 1 - JITTER and 1 + JITTER times its mean."""
_STATUS: Final = 10
"""Uplinks of a device between two reports of its battery."""
_DOWNLINK: Final = 7
"""Uplinks between two downlinks, which the device acknowledges."""
_LOCATION: Final = 25
"""Uplinks between two locations."""
_GATEWAYS: Final = (eui_of("gateway", "simulated-1"), eui_of("gateway", "simulated-2"))
_FREQUENCIES: Final = (868_100_000, 868_300_000, 868_500_000)
_DATA_RATES: Final = {12: 0, 10: 2, 7: 5}
"""Data rate index by spreading factor (EU868)."""

Tell = Callable[[str, str], None]
"""Called with a word and a sentence for people."""
Deliver = Callable[[Kind, dict[str, Any]], Awaitable[str]]
"""
Delivers an event, and returns the outcome that the server answers.

Raises:
    RequestError: The server refused the event.
    ServerUnreachable: There was no answer.
"""


@dataclass(slots=True)
class NetworkStatistics:
    """Counters of a simulated ChirpStack server."""

    sent: int = 0
    """Events that the server answered."""
    lost: int = 0
    """Events without an answer; ChirpStack sends none again."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """Answers (``accepted``, ``duplicate``), and codes of refusals."""
    faults: Counter[str] = field(default_factory=Counter)
    """Number of provoked faults by name."""


@dataclass(slots=True)
class EndDevice:
    """A LoRaWAN device of the network."""

    dev_eui: str
    name: str
    dev_addr: str = ""
    frames_up: int = 0
    frames_down: int = 0
    battery: float = 96.0

    def join(self) -> None:
        """Begin a new LoRaWAN session, with counters of its own."""
        self.dev_addr = f"01{random.getrandbits(24):06x}"
        self.frames_up = self.frames_down = 0


class SimulatedNetwork:
    """A ChirpStack server with one application, which delivers each event once, as ChirpStack does."""

    def __init__(self, devices: Sequence[EndDevice], deliver: Deliver, *, rate: float, tell: Tell) -> None:
        self.devices = devices
        self.statistics = NetworkStatistics()
        self._deliver = deliver
        self._rate = rate
        self._tell = tell

    async def run(self) -> None:
        """Let the devices join, and then send, until cancelled."""
        for device in self.devices:
            await self.join(device)
        while True:
            await asyncio.sleep(random.uniform(1 - JITTER, 1 + JITTER) / self._rate)
            await self.report(random.choice(self.devices))

    async def join(self, device: EndDevice) -> None:
        """Let a device join."""
        device.join()
        await self.emit(Kind.JOIN, device, {**self.identified(), "devAddr": device.dev_addr, "regionConfigId": "eu868"})

    async def report(self, device: EndDevice) -> None:
        """Let a device send a reading, and now and then more."""
        device.frames_up += 1
        identified = self.identified()
        await self.emit(Kind.UP, device, self.uplink(device, identified))
        if device.frames_up % _STATUS == 1:
            device.battery = max(1.0, device.battery - 0.5)
            await self.emit(Kind.STATUS, device, {**identified, **_status(device)})
        if device.frames_up % _DOWNLINK == 0:
            await self.downlink(device, acknowledged=True)
        if device.frames_up % _LOCATION == 2:
            await self.emit(Kind.LOCATION, device, {**identified, "location": _location()})

    async def downlink(self, device: EndDevice, *, acknowledged: bool) -> None:
        """Send a confirmed downlink to a device, which acknowledges it or does not."""
        device.frames_down += 1
        item = {"queueItemId": str(uuid4()), "fCntDown": device.frames_down}
        sent = {"power": 14, "frequency": _FREQUENCIES[0], "timing": {"delay": {"delay": "1s"}}}
        down = {"downlinkId": random.getrandbits(32), **item, "gatewayId": _GATEWAYS[0], "txInfo": sent}
        await self.emit(Kind.TXACK, device, down)
        await self.emit(Kind.ACK, device, {**self.identified(), **item, "acknowledged": acknowledged})

    async def log(self, device: EndDevice, code: str, level: str, description: str, **context: object) -> None:
        """Report a log event of a device."""
        texts = {key: str(value) for key, value in context.items()}
        body = {"level": level, "code": code, "description": description, "context": texts}
        await self.emit(Kind.LOG, device, body)

    def identified(self) -> dict[str, Any]:
        """Return a new id, which the events of one frame share."""
        return {"deduplicationId": str(UUID(int=random.getrandbits(128), version=4))}

    def uplink(self, device: EndDevice, identified: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of an uplink with a reading."""
        level = round(random.uniform(0.4, 2.6), 2)
        spreading = random.choice(list(_DATA_RATES))
        now = render_rfc3339(time.time_ns())
        receptions = [
            {
                "gatewayId": gateway,
                "uplinkId": random.getrandbits(32),
                "nsTime": now,
                "rssi": random.randint(-118, -60),
                "snr": round(random.uniform(-12, 10), 1),
                "metadata": {"region_config_id": "eu868", "region_common_name": "EU868"},
                "crcStatus": "CRC_OK",
            }
            for gateway in random.sample(_GATEWAYS, random.randint(1, 2))
        ]
        lora = {"bandwidth": 125_000, "spreadingFactor": spreading, "codeRate": "CR_4_5"}
        return {
            **identified,
            "devAddr": device.dev_addr,
            "adr": True,
            "dr": _DATA_RATES[spreading],
            "fCnt": device.frames_up,
            "fPort": 2,
            "confirmed": False,
            "data": b64encode(f"lvl={level:.2f}m".encode()).decode(),
            "object": {"level": level},
            "rxInfo": receptions,
            "txInfo": {"frequency": random.choice(_FREQUENCIES), "modulation": {"lora": lora}},
            "regionConfigId": "eu868",
        }

    async def emit(self, kind: Kind, device: EndDevice, fields: Mapping[str, Any]) -> None:
        """
        Deliver an event.

        Raises:
            ServerUnreachable: There has been no answer yet.
        """
        document = {"time": render_rfc3339(time.time_ns()), "deviceInfo": _info(device), **fields}
        try:
            outcome = await self._deliver(kind, document)
        except RequestError as exc:
            outcome = exc.code
            if not self.statistics.outcomes[outcome]:
                self._tell("refused", exc.detail)
        except ServerUnreachable as exc:
            if not self.statistics.sent:
                raise
            self.statistics.lost += 1
            self._tell("lost", str(exc))
            return
        self.statistics.sent += 1
        self.statistics.outcomes[outcome] += 1


def _info(device: EndDevice) -> dict[str, Any]:
    return {
        "tenantId": uuid_of("simulated", "tenant"),
        "tenantName": "simulated",
        "applicationId": uuid_of("simulated", "application"),
        "applicationName": "water levels",
        "deviceProfileId": uuid_of("simulated", "profile"),
        "deviceProfileName": "level meter",
        "deviceName": device.name,
        "devEui": device.dev_eui,
        "deviceClassEnabled": "CLASS_A",
        "tags": {},
    }


def _status(device: EndDevice) -> dict[str, Any]:
    return {
        "margin": random.randint(-5, 25),
        "externalPowerSource": False,
        "batteryLevelUnavailable": False,
        "batteryLevel": device.battery,
    }


def _location() -> dict[str, Any]:
    latitude, longitude = random.uniform(63.42, 63.44), random.uniform(10.37, 10.45)
    return {"latitude": round(latitude, 6), "longitude": round(longitude, 6), "source": "GEO_RESOLVER_TDOA"}
