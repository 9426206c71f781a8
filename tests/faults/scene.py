"""A device, its subscriber, and how the subscriber's events are looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Final

from span_events.events.catalogue import CATALOGUE
from span_events.events.reasons import MessageRejectedReason
from tests.bench.live import Document, LiveDevice, LiveServer, Tail
from tests.listeners.coap.bench import RawClient

EXTENDED: Final = {"extended": "1"}
"""A stream's query: with ids, correlation, severity and hints."""
MARK: Final = "deviceUpdated"
"""An event that the test causes itself: what was caused before has been told by then."""


@dataclass(slots=True)
class Scene:
    """One device of a server, and a subscriber to its collection who asked for ``extended=1``."""

    server: LiveServer
    device: LiveDevice
    tail: Tail
    _sockets: ExitStack = field(default_factory=ExitStack)

    def close(self) -> None:
        """Close the device's sockets."""
        self._sockets.close()

    def udp(self) -> RawClient:
        """Open a socket of the device for plain datagrams."""
        return self._socket("datagrams")

    def coap(self) -> RawClient:
        """Open a socket of the device for CoAP."""
        return self._socket("coap")

    async def coap_client(self, *arguments: str, path: str = "x") -> str:
        """Run libcoap's client at the device's address; return what it prints."""
        return await self.server.coap_client(self.device.address, *arguments, path=path)

    async def published(self, name: str, **data: str) -> Document:
        """Wait for an event about the device."""
        event = await self.tail.until(name, **data)

        assert (event["collectionId"], event["deviceId"]) == (self.device.collection, self.device.id)
        return event

    async def rejected(self, reason: MessageRejectedReason) -> Document:
        """Wait for a messageRejected about the device; return its data."""
        event = await self.published("messageRejected", reason=reason.value)

        check_words(event, "warning", reason.hint)
        data: Document = event["data"]
        return data

    async def names_until_now(self) -> list[str]:
        """Cause an event, wait for it, and list the names of all that came before."""
        await self.server.call("PATCH", self.device.path, {"tags": {"mark": str(len(self.tail.seen))}})
        await self.tail.until(MARK)
        return self.tail.names[:-1]

    def _socket(self, listener: str) -> RawClient:
        return self._sockets.enter_context(closing(self.server.socket_at(self.device.address, listener)))


@asynccontextmanager
async def open_scene(server: LiveServer) -> AsyncIterator[Scene]:
    """Make a collection with one device and one subscriber; after the fault, the server must still serve."""
    async with scene_of(server, await server.add_device(await server.add_collection())) as scene:
        yield scene
    assert await server.still_serves()


@asynccontextmanager
async def scene_of(server: LiveServer, device: LiveDevice, *, replay: int = 0) -> AsyncIterator[Scene]:
    """Subscribe to the collection of a device, beginning with up to ``replay`` past events."""
    query = EXTENDED | ({"tail": str(replay)} if replay else {})
    async with server.tail(f"/span/collections/{device.collection}/activity", query) as tail:
        scene = Scene(server, device, tail)
        try:
            yield scene
        finally:
            scene.close()


def check_words(event: Document, severity: str, hint: str = "") -> None:
    """Compare what ``extended=1`` adds for people; without a hint, it is the event's own."""
    wanted = hint or CATALOGUE[event["event"]].hint

    assert (event["severity"], event["hint"]) == (severity, wanted)
    assert all(isinstance(value, str) for value in event["data"].values())
