"""A device whose DTLS stack makes mistakes: a handmade client at the address of the device."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.bench.peers.handmade_dtls import HandmadeClient
from tests.faults.scene import Scene

KEY: Final = b"0123456789abcdef"


def address_of(scene: Scene, listener: str = "datagrams") -> tuple[str, int]:
    """Return host and port of a listener."""
    host, _, port = scene.server.addresses[listener].rpartition(":")
    return host, int(port)


def handmade(scene: Scene, *, identity: bytes | None = None, **options: Any) -> HandmadeClient:
    """Make a client at the device's address; by default, its PSK identity is the id of the device."""
    psk = (scene.device.id.encode() if identity is None else identity, KEY)
    return HandmadeClient(address_of(scene), host=scene.device.address, psk=psk, **options)


@asynccontextmanager
async def session(scene: Scene, **options: Any) -> AsyncIterator[HandmadeClient]:
    """Give the device a PSK, and open a session."""
    await scene.server.set_psk(scene.device, scene.device.id.encode(), KEY)
    with handmade(scene, **options) as client:
        assert await asyncio.to_thread(client.connect), client.alert
        await scene.published("clientConnected")
        yield client
