"""A device that should update its firmware, without a network: what it does, and what is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from span_events.events.message import Transport
from span_events.events.reasons import FirmwareState
from span_events.fleet.collections import CollectionChange
from span_events.fleet.firmware.downloads import Chunk, FetchRefused
from span_events.fleet.firmware.rules import state_of
from span_events.registry.model import Collection, Device, Image, Management
from span_events.wire.fota import Report
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench

OLD: Final = "1.0"
NEW: Final = "1.1"
REMOTE: Final = ("10.0.0.9", 5683)
SIZE: Final = 64
IMAGE: Final = bytes(range(256)) * 5
"""1,280 octets: 20 blocks."""
BLOCKS: Final = len(IMAGE) // SIZE
HALF: Final = BLOCKS // 2
STALL, UPDATE = 120.0, 1800.0
CHECK, CURRENT, REQUIRED, CHANGE, REQUESTED = (
    "firmwareCheck",
    "firmwareCurrent",
    "firmwareUpdateRequired",
    "firmwareStateChange",
    "firmwareRequested",
)


class Scene:
    """A device with version 1.0, in a collection whose target is version 1.1."""

    def __init__(self, bench: FleetBench, device: Device, image: Image) -> None:
        self.bench = bench
        self.device = device
        self.image = image

    @property
    def collection(self) -> Collection:
        """Where the device is."""
        return self.device.collection

    @property
    def state(self) -> FirmwareState:
        """The state of its firmware."""
        return state_of(self.device.firmware)

    def report(self, version: str = OLD, *, unreachable: str = "") -> bool:
        """Let the device report; return whether it was told of an update."""
        return self.bench.firmware.report(
            self.device, Report(version), remote=REMOTE, transport=Transport.COAP, unreachable=unreachable
        )

    def fetch(self, number: int, size: int = SIZE) -> Chunk:
        """Let the device ask for a block."""
        return self.bench.firmware.downloads.fetch(self.device, number, size, remote=REMOTE, transport=Transport.COAP)

    def download(self, first: int = 0, end: int = BLOCKS) -> bytes:
        """Let the device ask for blocks in a row."""
        return b"".join(self.fetch(number).octets for number in range(first, end))

    def refused(self, number: int) -> FetchRefused:
        """Let the device ask for a block that it does not get."""
        with pytest.raises(FetchRefused) as caught:
            self.fetch(number)
        return caught.value

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.bench.clock.shift(seconds)
        self.bench.firmware.sweep()

    async def clear(self) -> None:
        """Clear the error through the API."""
        await self.bench.firmware.clear_error(self.device, cause=CAUSE)

    async def target(self, image: Image | None) -> None:
        """Change the target of the collection."""
        change = CollectionChange(target_firmware_id=image.id if image else 0)
        await self.bench.collections.update(self.collection, change, cause=CAUSE)

    def take(self) -> list[str]:
        """Return the names of what was published, and begin anew."""
        return [name for name, _ in self.bench.drain()]

    def changes(self) -> list[dict[str, str]]:
        """Return what was told of the state, and begin anew."""
        return [data for name, data in self.bench.drain() if name == "firmwareStateChange"]

    async def reach(self, state: FirmwareState, *, whole: bool = False) -> None:
        """Bring the device into a state, the way that devices get there; ``whole`` chooses who timed out."""
        self.report()
        match state:
            case FirmwareState.PENDING:
                pass
            case FirmwareState.DOWNLOADING:
                self.download(end=HALF)
            case FirmwareState.UPDATING:
                self.download()
            case FirmwareState.CURRENT:
                self.report(NEW)
            case FirmwareState.UPDATE_FAILED | FirmwareState.INITIALIZING:
                self.download()
                self.report()
                if state is FirmwareState.INITIALIZING:
                    await self.clear()
            case FirmwareState.TIMED_OUT:
                self.download(end=BLOCKS if whole else HALF)
                self.wait(UPDATE if whole else STALL)
            case FirmwareState.REVERTED:
                self.report(NEW)
                self.report()
        self.bench.activities.clear()

        assert self.state is state


@asynccontextmanager
async def firmware_scene(folder: Path) -> AsyncIterator[Scene]:
    """A device that has just shown itself."""
    async with fleet_bench(folder, firmware={"stall_timeout": STALL, "update_timeout": UPDATE}) as bench:
        device = await bench.device()
        image = await bench.image(device.collection, NEW, IMAGE)
        change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
        await bench.collections.update(device.collection, change, cause=CAUSE)
        bench.reception.sessions.contacted(device, REMOTE, transport=Transport.COAP)
        bench.activities.clear()
        yield Scene(bench, device, image)
