"""A gateway without a network: records messages from the fleet, and passes messages to the fleet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from span_events.events.reasons import GatewayReason
from span_events.fleet.devices.devices import DeviceChange
from span_events.fleet.gateways.session import Departure
from span_events.fleet.gateways.sessions import GatewaySession
from span_events.ids import render
from span_events.proto import gateway_pb2 as pb
from span_events.registry.model import Device, Gateway
from tests.bench.fleets import CAUSE, FleetBench

SERIAL = 4711


class RecordingLink:
    """A link that sends all messages at once or, while stalled, queues as many as it has room for."""

    def __init__(self) -> None:
        self.messages: list[pb.ControlStreamResponse] = []
        """Messages that have left."""
        self.ends: list[GatewayReason] = []
        self.is_stalled = False
        self.room = 1000
        self.is_full = False
        """True while no message fits, not even as a replacement."""
        self.is_handed_on = False
        """True while waiting messages are in HTTP/2, which returns none."""
        self._waiting: list[tuple[int | None, pb.ControlStreamResponse, Departure]] = []
        self._departed: list[Departure] = []

    @property
    def waiting(self) -> int:
        """Number of messages that have not left yet."""
        return len(self._waiting)

    def send(self, message: pb.ControlStreamResponse, *, key: int | None = None, departure: Departure = None) -> bool:
        """Record a message, or queue it; a waiting message with the same key is replaced."""
        if not self.is_stalled:
            self.messages.append(message)
            self._departed.append(departure)
            return True
        if self.is_full:
            return False
        for index, (waiting, _, _) in enumerate(self._waiting):
            if key is not None and waiting == key:
                self._waiting[index] = (key, message, departure)
                return True
        if len(self._waiting) >= self.room:
            return False
        self._waiting.append((key, message, departure))
        return True

    def withdraw(self, key: int) -> bool:
        """Remove a waiting message, unless HTTP/2 has it."""
        kept = [each for each in self._waiting if each[0] != key or self.is_handed_on]
        found, self._waiting = len(kept) < len(self._waiting), kept
        return found

    def end(self, reason: GatewayReason, detail: str = "") -> None:
        """Record the end."""
        self.ends.append(reason)

    def take_departed(self) -> Sequence[Departure]:
        """Return the departures of the messages that have left."""
        departed, self._departed = self._departed, []
        return departed

    def leave(self) -> bool:
        """Let the first waiting message leave; False if none waits."""
        if not self._waiting:
            return False
        _, message, departure = self._waiting.pop(0)
        self.messages.append(message)
        self._departed.append(departure)
        return True


class FakeGateway:
    """A connected gateway."""

    def __init__(self, bench: FleetBench, gateway: Gateway, *, address: str = "10.1.0.1", serial: int = SERIAL) -> None:
        self.bench = bench
        self.gateway = gateway
        self.link = RecordingLink()
        self.session: GatewaySession = bench.gateway_sessions.opened(
            gateway,
            remote=(address, 5000),
            certificate_serial=serial,
            link=self.link,
            tls_version="TLSv1.3",
            user_agent="test/1",
        )

    def flow(self) -> None:
        """Let all waiting messages leave, and those that follow them."""
        while self.link.leave():
            self.bench.gateway_sessions.flushed(self.session)

    def say(self, **part: Any) -> None:
        """Send one part of a ControlStreamRequest, encoded and decoded once."""
        message = pb.ControlStreamRequest.FromString(pb.ControlStreamRequest(**part).SerializeToString())
        self.bench.gateway_sessions.received(self.session, message)

    def configure(self) -> None:
        """Request the configuration."""
        self.say(config=pb.ConfigRequest())

    def upstream(self, device: Device | str, payload: bytes = b"hello", **metadata: str) -> None:
        """Send an upstream message of a device."""
        named = device if isinstance(device, str) else render(device.id)
        self.say(upstream_message=pb.UpstreamMessage(device_id=named, payload=payload, metadata=metadata))

    def take(self) -> list[tuple[str, Any]]:
        """Return the messages that have left since the last call: the part's name, and its content to compare."""
        told = [_brief(each) for each in self.link.messages]
        self.link.messages.clear()
        return told


async def roof(bench: FleetBench) -> Gateway:
    """Create a gateway with a parameter and a tag."""
    return await bench.gateway(params={"region": "EU868"}, tags={"name": "roof"})


async def behind(bench: FleetBench, gateway: Gateway, eui: str = "00", **fields: Any) -> Device:
    """Create a device behind a gateway."""
    change = DeviceChange(gateways={gateway.id: {"devEui": eui}}, **fields)
    return await bench.devices.create(gateway.collection, change, cause=CAUSE)


def online(bench: FleetBench, gateway: Gateway) -> FakeGateway:
    """Connect a gateway and let it request its configuration; messages and events of that are dropped."""
    fake = FakeGateway(bench, gateway)
    fake.configure()
    fake.take()
    bench.activities.clear()
    return fake


def _brief(message: pb.ControlStreamResponse) -> tuple[str, Any]:
    part = message.WhichOneof("msg")
    assert part is not None
    value: Any = getattr(message, part)
    if part in ("device_update", "gateway_update"):
        named = value.device_id if part == "device_update" else value.gateway_id
        return part, (named, dict(value.config), dict(value.tags))
    if part == "downstream_message":
        return part, (value.device_id, value.payload)
    return part, value.device_id if part == "device_removed" else None
