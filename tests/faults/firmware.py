"""A device that should update its firmware: what it sends, and what subscribers hear of it."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

from span_events.wire.coap.blocks import Block, write_block
from span_events.wire.coap.messages import CoapMessage, Option
from span_events.wire.fota import Report, encode_report
from tests.bench.live import Document
from tests.faults.scene import Scene
from tests.listeners.coap.bench import RawClient, get, post

OLD: Final = "1.0.0"
NEW: Final = "1.1.0"
IMAGE: Final = random.Random(29).randbytes(5_120)
"""10 blocks of 512 octets."""
BLOCKS: Final = 10


@dataclass(slots=True)
class FirmwareScene:
    """A device that runs 1.0.0, in a collection that should run 1.1.0."""

    scene: Scene
    socket: RawClient
    image: str
    """Id of the image."""
    _message_ids: count[int] = field(default_factory=lambda: count(1))

    def reboot(self) -> None:
        """Begin as at every boot, on the same port: from here on the same requests are the same octets."""
        self._message_ids = count(0)

    async def report(self, version: str = OLD) -> CoapMessage:
        """Report a version."""
        return await self.send_report(encode_report(Report(version, "model 01", "0001", "Lab5e Demo Corp")))

    async def send_report(self, payload: bytes) -> CoapMessage:
        """Report anything."""
        return await self.socket.exchange(post(payload, path="u", message_id=next(self._message_ids)))

    async def fetch(self, number: int) -> CoapMessage:
        """Ask for a block."""
        block = ((int(Option.BLOCK2), write_block(Block(number, more=False, exponent=5))),)
        return await self.socket.exchange(get(path="fw", options=block, message_id=next(self._message_ids)))

    async def download(self, first: int = 0, end: int = BLOCKS) -> bytes:
        """Ask for blocks in a row."""
        return b"".join([(await self.fetch(number)).payload for number in range(first, end)])

    async def libcoap(self, path: str, *arguments: str | Path) -> str:
        """Let libcoap's client do something."""
        return await self.scene.coap_client(*map(str, arguments), path=path)

    async def change(self, state: str) -> Document:
        """Wait until a state is told; return the data of that."""
        event = await self.scene.published("firmwareStateChange", state=state)
        data: Document = event["data"]
        return data

    async def set_target(self, image: str) -> None:
        """Change what the collection should run; ``"0"`` is nothing."""
        firmware = {"management": "collection", "targetFirmwareId": image}
        await self.scene.server.call("PATCH", self._collection, {"firmware": firmware})

    async def add_image(self, octets: bytes, version: str) -> str:
        """Upload an image, and return its id."""
        body = {"image": b64encode(octets).decode(), "version": version, "filename": "fw.bin"}
        made = await self.scene.server.call("POST", f"{self._collection}/firmware", body)
        return str(made["imageId"])

    async def disable_image(self) -> None:
        """Have nobody use the image."""
        await self.scene.server.call("PATCH", f"{self._collection}/firmware/{self.image}", {"enabled": False})

    async def state(self) -> str:
        """Ask the API for the device's state."""
        device = await self.scene.server.call("GET", self.scene.device.path)
        return str(device["firmware"]["state"])

    @property
    def _collection(self) -> str:
        return f"/span/collections/{self.scene.device.collection}"


@asynccontextmanager
async def open_firmware_scene(scene: Scene) -> AsyncIterator[FirmwareScene]:
    """Upload an image and make it the target."""
    firmware = FirmwareScene(scene, scene.coap(), "")
    firmware.image = await firmware.add_image(IMAGE, NEW)
    await firmware.set_target(firmware.image)
    await firmware.change("Pending")
    yield firmware


def correlations(events: list[Document]) -> set[str]:
    """Return the causes that events name."""
    return {each for event in events for each in event["correlationIds"] if each.startswith("cause:")}
