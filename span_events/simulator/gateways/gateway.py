"""A simulated gateway: it behaves as Span's own example does, with sensors behind it, and comes back when it is cut."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from span_events.proto.gateway_pb2 import (
    ControlStreamRequest,
    ControlStreamResponse,
    DeviceConfigUpdate,
    DeviceUpdate,
    DownstreamMessage,
    Keepalive,
    UpstreamMessage,
)
from span_events.simulator.devices import readings
from span_events.simulator.gateways.control_stream import ControlStream, Credentials, NotConnected
from span_events.simulator.sockets import Address

KEEPALIVE: Final = 60.0
"""Seconds without a message either way after which the gateway sends one."""
RETRY: Final = 5.0
"""Seconds until it connects again."""
JITTER: Final = 0.5
"""A pause is its mean times 1 - JITTER to 1 + JITTER."""
FRAMES_UP: Final = "fCntUp"
FRAMES_DOWN: Final = "fCntDn"
"""Keys under which LoRa gateways keep how many frames a device has sent, and got."""

Tell = Callable[[str, str], None]
"""Called with a word and a sentence for people."""


@dataclass(slots=True)
class GatewayStatistics:
    """What a gateway did so far."""

    connected: int = 0
    """Streams that were opened."""
    not_connected: int = 0
    """Times that it was not let in, or nobody was there."""
    sent: int = 0
    """Messages of its devices."""
    octets: int = 0
    lost: int = 0
    """Messages that could not be sent: the server did not read, or the gateway was frozen."""
    configured: int = 0
    """Configurations of devices that came, and were answered."""
    removed: int = 0
    """Devices that were taken away."""
    downstream: int = 0
    downstream_octets: int = 0
    keepalives: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Streams that ended, by status (``ABORTED``)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Faults that were provoked, by name."""


@dataclass(slots=True)
class Sensor:
    """A device behind the gateway."""

    config: dict[str, str]
    """As the server gave it."""
    up: int
    """Frames that it has sent."""
    down: int
    """Frames that it got."""
    payloads: Iterator[bytes] = field(default_factory=readings)

    @property
    def counters(self) -> dict[str, str]:
        """How far it has counted, as the server gets to know it."""
        return {FRAMES_UP: str(self.up), FRAMES_DOWN: str(self.down)}


class SimulatedGateway:
    """
    A gateway that serves its devices until cancelled.

    Args:
        target: Where the server listens for gateways.
        server_name: What its certificate must be for, if not the target's host.
        rate: Messages a second of all its devices together.
        keepalive: Seconds without a message after which it sends one.
        retry: Seconds until it connects again after a stream has ended.
        tell: Called with ``configured``, ``removed``, ``downstream``, ``ended``, ``connect``, and what happened.
    """

    def __init__(
        self,
        credentials: Credentials,
        target: Address,
        *,
        server_name: str = "",
        rate: float,
        keepalive: float = KEEPALIVE,
        retry: float = RETRY,
        tell: Tell = lambda word, sentence: None,
    ) -> None:
        assert rate > 0, "a rate is positive"
        self.statistics = GatewayStatistics()
        self.id = ""
        """What the server calls it; empty before it was configured."""
        self.config: dict[str, str] = {}
        self.stream: ControlStream | None = None
        """The one that it serves."""
        self.devices: dict[str, Sensor] = {}
        """By id, as far as the server has told of them on this stream."""
        self._known: dict[str, Sensor] = {}  # also on earlier ones: counters go on
        self._successor: ControlStream | None = None
        self._credentials = credentials
        self._target = target
        self._server_name = server_name
        self._pause = 1 / rate
        self._keepalive = keepalive
        self._retry = retry
        self._tell = tell

    async def run(self) -> None:
        """
        Serve until cancelled. Cancelling ends the stream in order.

        Raises:
            NotConnected: The first connection failed; later ones are tried again.
        """
        try:
            while True:
                stream, self._successor = self._successor or await self._connect(), None
                await self._serve(stream)
                if self._successor is None:
                    await asyncio.sleep(self._retry)
        finally:
            if self._successor is not None:
                self._successor.abort()

    async def open(self, credentials: Credentials | None = None) -> ControlStream:
        """
        Open a stream, beside the one that is there; as somebody else if other credentials are given.

        Raises:
            NotConnected: The server does not let it in, or is not there.
        """
        credentials = credentials or self._credentials
        return await ControlStream.open(self._target, credentials, server_name=self._server_name)

    def take_over(self, stream: ControlStream) -> None:
        """Serve this stream as soon as the present one is over."""
        self._successor = stream

    async def send_reading(self, device_id: str, sensor: Sensor) -> None:
        """Send a message of a device, as it would have come over the air."""
        if self.stream is None:
            return
        payload = next(sensor.payloads)
        sensor.up += 1
        air = {
            "rssi": str(random.randint(-120, -60)),
            "snr": f"{random.uniform(-10, 10):.1f}",
            FRAMES_UP: str(sensor.up),
        }
        message = UpstreamMessage(device_id=device_id, payload=payload, metadata=air)
        if await self.stream.send(ControlStreamRequest(upstream_message=message)):
            self.statistics.sent += 1
            self.statistics.octets += len(payload)
        else:
            self.statistics.lost += 1

    # ---- one stream ---------------------------------------------------------------------------

    async def _connect(self) -> ControlStream:
        while True:
            try:
                return await self.open()
            except NotConnected as exc:
                self.statistics.not_connected += 1
                if not self.statistics.connected:
                    raise
                self._tell("connect", f"{exc}; again in {self._retry:.0f} s")
            await asyncio.sleep(self._retry)

    async def _serve(self, stream: ControlStream) -> None:
        self.statistics.connected += 1
        self.id, self.devices = "", {}
        self.stream = stream
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._send(stream)), group.create_task(self._keep_alive(stream))]
                async for response in stream.responses():
                    await self._take(stream, response)
                for each in tasks:
                    each.cancel()
        finally:
            self.stream = None
            await stream.close()
        if stream.end is not None:
            self.statistics.ended[stream.end.name] += 1
            self._tell("ended", str(stream.end))

    async def _send(self, stream: ControlStream) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while stream.end is None:
            due = max(due, loop.time() - 1) + self._pause * random.uniform(1 - JITTER, 1 + JITTER)
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self.devices:
                await self.send_reading(*random.choice(list(self.devices.items())))

    async def _keep_alive(self, stream: ControlStream) -> None:
        loop = asyncio.get_running_loop()
        while stream.end is None:
            idle = loop.time() - stream.used_at
            if idle >= self._keepalive:
                await stream.send(ControlStreamRequest(keepalive=Keepalive()))
                self.statistics.keepalives += 1
                idle = 0.0
            await asyncio.sleep(self._keepalive - idle)

    async def _take(self, stream: ControlStream, response: ControlStreamResponse) -> None:
        match response.WhichOneof("msg"):
            case "gateway_update":
                self.id = response.gateway_update.gateway_id
                self.config = dict(response.gateway_update.config)
            case "device_update":
                await self._take_device(stream, response.device_update)
            case "device_removed":
                self._remove(response.device_removed.device_id)
            case "downstream_message":
                self._deliver(response.downstream_message)
            case _:  # an answer to a keepalive, or something newer than this gateway
                pass

    async def _take_device(self, stream: ControlStream, update: DeviceConfigUpdate) -> None:
        """Take a device's configuration, and tell how far it has counted."""
        if not self.id:
            return  # Span's library drops what comes before the gateway's own
        device_id, config = update.device_id, dict(update.config)
        sensor = self._known.get(device_id)
        if sensor is None:
            sensor = Sensor(config, _count(config.get(FRAMES_UP)), _count(config.get(FRAMES_DOWN)))
            self._known[device_id] = sensor
        sensor.config = config
        self.devices[device_id] = sensor
        self.statistics.configured += 1
        self._tell("configured", f"device {device_id} with {len(config)} entries")
        answer = DeviceUpdate(device_id=device_id, config=config | sensor.counters)
        await stream.send(ControlStreamRequest(device_update=answer))

    def _remove(self, device_id: str) -> None:
        self._known.pop(device_id, None)
        if self.devices.pop(device_id, None) is not None:
            self.statistics.removed += 1
            self._tell("removed", f"device {device_id}")

    def _deliver(self, message: DownstreamMessage) -> None:
        """Log a message; the air is not simulated."""
        self.statistics.downstream += 1
        self.statistics.downstream_octets += len(message.payload)
        sensor = self._known.get(message.device_id)
        if sensor is not None:
            sensor.down += 1
        self._tell("downstream", f"{len(message.payload)} octets for device {message.device_id}")


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
