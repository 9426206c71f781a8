"""The MQTT listener over a real fleet and hub, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from span_events.accepting import RefusedAccepts
from span_events.auth.tokens import Tokens
from span_events.events.message import Transport
from span_events.fanout.hub import Hub
from span_events.registry.model import Collection, Device
from span_events.web.mqtt.listener import MqttListener
from span_events.web.mqtt.service import MqttService
from span_events.web.proxies import Proxies
from span_events.web.streams.admission import Admission
from span_events.wire.openssl import Identity
from tests.bench.fleets import FleetBench, config_of, fleet_bench
from tests.web.mqtt.client import Client


@dataclass(slots=True)
class MqttBench:
    """The listener, and the parts behind it."""

    fleet: FleetBench
    hub: Hub
    tokens: Tokens
    service: MqttService
    listener: MqttListener
    token: str
    """Text of a token that reaches everything."""

    def client(self, level: int = 5, **options: Any) -> Client:
        """Return a client that is not yet connected."""
        return Client(self.listener.address, level=level, **options)

    async def device(self, collection: Collection) -> Device:
        """Make a device."""
        return await self.fleet.device(collection=collection)

    def receive(self, device: Device, payload: bytes = b"hello") -> None:
        """Let a message of a device come in."""
        remote = ("10.0.0.9", 4000)
        self.fleet.reception.received(device, payload, remote=remote, transport=Transport.UDP, local_port=1234)

    def metric(self, name: str) -> float | Mapping[str, float]:
        """Return the value of a metric."""
        return next(each.value() for each in self.listener.metrics() if each.name == name)


@asynccontextmanager
async def mqtt_bench(folder: Path, identities: Sequence[Identity] = (), **settings: Any) -> AsyncIterator[MqttBench]:
    """Serve MQTT on a free port; settings are those of a `Config`."""
    settings["mqtt"] = {"port": 0} | settings.get("mqtt", {})
    async with fleet_bench(folder, **settings) as fleet:
        config = config_of(settings)
        hub = Hub(config.fanout, fleet.clock, fleet.identifiers)
        tokens = Tokens(fleet.store, fleet.identifiers, fleet.clock)
        fleet.bus.listen(activities=hub.show, messages=hub.show_message)
        refused = RefusedAccepts(fleet.clock)
        admission = Admission(config.streams, Proxies([]), hub, refused)
        service = MqttService(
            config.mqtt, config.fanout, hub, tokens, fleet.directory, fleet.facts, admission, fleet.clock
        )
        listener = MqttListener(service, identities=identities, refused=refused)
        await listener.start()
        running = asyncio.create_task(listener.run())
        _, token = await tokens.create(resource="/", write=True)
        try:
            yield MqttBench(fleet, hub, tokens, service, listener, token)
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running
            await listener.stop()
            hub.close()
            await listener.close()
