"""Simulated gateway with sensors: behaves like Span's example, and reconnects after the end of a stream."""

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
"""Seconds without a message in either direction until the gateway sends a keepalive."""
RETRY: Final = 5.0
"""Seconds from the end of a stream to the next connection."""
JITTER: Final = 0.5
"""Relative jitter: a pause lasts between 1 - JITTER and 1 + JITTER times its mean."""
FRAMES_UP: Final = "fCntUp"
FRAMES_DOWN: Final = "fCntDn"
"""Keys of LoRa gateways for the number of frames that a device has sent and received."""

Tell = Callable[[str, str], None]
"""Called with a word and a sentence for people."""


@dataclass(slots=True)
class GatewayStatistics:
    """Counters of a simulated gateway."""

    connected: int = 0
    """Opened streams."""
    not_connected: int = 0
    """Failed attempts to connect."""
    sent: int = 0
    """Messages of devices sent."""
    octets: int = 0
    lost: int = 0
    """Messages lost because the server did not read, or the gateway was frozen."""
    configured: int = 0
    """Device configurations received and answered."""
    removed: int = 0
    """Devices removed by the server."""
    downstream: int = 0
    downstream_octets: int = 0
    keepalives: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    """Number of ended streams by status (``ABORTED``)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Number of provoked faults by name."""


@dataclass(slots=True)
class Sensor:
    """A device behind the gateway."""

    config: dict[str, str]
    """Configuration from the server."""
    up: int
    """Number of frames sent."""
    down: int
    """Number of frames received."""
    payloads: Iterator[bytes] = field(default_factory=readings)

    @property
    def counters(self) -> dict[str, str]:
        """Frame counters in the form in which the gateway reports them."""
        return {FRAMES_UP: str(self.up), FRAMES_DOWN: str(self.down)}


class SimulatedGateway:
    """
    A gateway that serves its devices until cancelled.

    Args:
        target: Address of the server's gateway listener.
        server_name: Name in the server's certificate, if it is not the target's host.
        rate: Messages per second of all devices together.
        keepalive: Seconds without a message until the gateway sends a keepalive.
        retry: Seconds from the end of a stream to the next connection.
        tell: Called with ``configured``, ``removed``, ``downstream``, ``ended`` or ``connect``, and a sentence.
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
        """Id of the gateway at the server; empty before the first configuration."""
        self.config: dict[str, str] = {}
        self.stream: ControlStream | None = None
        """Control stream in use."""
        self.devices: dict[str, Sensor] = {}
        """Devices by id that the server has configured on this stream."""
        self._known: dict[str, Sensor] = {}  # earlier streams included, so that counters continue
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
            NotConnected: The first connection failed; later failures are retried.
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
        Open a stream beside the present one, with other credentials if given.

        Raises:
            NotConnected: The server rejects the gateway, or does not answer.
        """
        credentials = credentials or self._credentials
        return await ControlStream.open(self._target, credentials, server_name=self._server_name)

    def take_over(self, stream: ControlStream) -> None:
        """Serve a stream as soon as the present stream is over."""
        self._successor = stream

    async def send_reading(self, device_id: str, sensor: Sensor) -> None:
        """Send a message of a device, with the metadata of its radio link."""
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
            case _:  # answer to a keepalive, or an unknown newer message
                pass

    async def _take_device(self, stream: ControlStream, update: DeviceConfigUpdate) -> None:
        """Store a device's configuration, and report the device's frame counters."""
        if not self.id:
            return  # Span's library drops updates before the gateway's own configuration
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
        """Count a downstream message; the radio link is not simulated."""
        self.statistics.downstream += 1
        self.statistics.downstream_octets += len(message.payload)
        sensor = self._known.get(message.device_id)
        if sensor is not None:
            sensor.down += 1
        self._tell("downstream", f"{len(message.payload)} octets for device {message.device_id}")


def _count(text: str | None) -> int:
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0
