"""The object store is killed while a device downloads: the download goes on, and so does all else when it is back."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterator

import aiohttp
import pytest

from span_events.wire.coap.messages import Code
from tests.bench.live import Document, LiveDevice, LiveServer, Reply
from tests.bench.peers.versitygw import ObjectStoreServer, needs_versitygw
from tests.bench.waiting import PATIENCE, until
from tests.listeners.coap.bench import RawClient
from tests.listeners.coap.firmware_bench import fetch

pytestmark = needs_versitygw


@pytest.fixture(scope="module")
def object_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStoreServer]:
    """A store that the tests kill and start again."""
    with ObjectStoreServer(tmp_path_factory.mktemp("store")) as store:
        yield store


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, object_store: ObjectStoreServer) -> Iterator[LiveServer]:
    """A server that keeps its files there; the downloader begins more downloads in a second than a device may."""
    settings = {f"files.{name}": value for name, value in object_store.settings("live").items()}
    with LiveServer(tmp_path_factory.mktemp("server"), settings | {"messages.rate": 100_000.0}) as server:
        yield server


async def upload(server: LiveServer, device: LiveDevice, version: str) -> Reply:
    """Upload an image; any status is returned."""
    body: Document = {"version": version, "image": base64.b64encode(version.encode() * 10_000).decode()}
    return await server.request("POST", f"/span/collections/{device.collection}/firmware", body)


async def blob(server: LiveServer, device: LiveDevice, octets: bytes) -> int:
    """Send a blob from the device's address; return the status."""
    connector = aiohttp.TCPConnector(local_addr=(device.address, 0))
    async with (
        asyncio.timeout(PATIENCE),
        aiohttp.ClientSession(connector=connector) as http,
        http.post(f"http://{server.addresses['blobs']}/x", data=octets) as response,
    ):
        return response.status


async def health(server: LiveServer) -> tuple[int, str]:
    """Return the status of /readyz, and the health of the object store."""
    reply = await server.request("GET", "/readyz")
    return reply.status, reply.document["parts"]["file_store"]


class Downloader:
    """A device that fetches one block after the other, again and again."""

    def __init__(self, server: LiveServer, device: LiveDevice) -> None:
        host, _, port = server.addresses["coap"].rpartition(":")
        self._client = RawClient(device.address, (host, int(port)))
        self.blocks = 0
        self.others: list[int] = []
        """Codes of replies that are no blocks."""

    async def run(self) -> None:
        """Fetch until cancelled."""
        try:
            while True:
                number = self.blocks % 20
                reply = await self._client.exchange(fetch(number, 5, message_id=self.blocks % 65_536))
                if reply.code != Code.CONTENT:
                    self.others.append(reply.code)
                self.blocks += 1
        finally:
            self._client.close()

    async def goes_on(self) -> None:
        """Wait for a hundred more blocks."""
        goal = self.blocks + 100
        await until(lambda: self.blocks >= goal)


async def test_a_killed_object_store_stops_no_download_and_is_used_again(
    server: LiveServer, object_store: ObjectStoreServer
) -> None:
    """Uploads get 503, blobs are told with storageFailed, and readiness stays: no other node could do better."""
    device = await server.add_device(await server.add_collection())
    image = (await upload(server, device, "1.0")).document["imageId"]
    target = {"firmware": {"management": "collection", "targetFirmwareId": image}}
    await server.call("PATCH", f"/span/collections/{device.collection}", target)
    downloader = Downloader(server, device)
    # Read only now and then: the thousands of events of the download would fill its buffer.
    wanted = {"extended": "1", "event": "/^(messageRejected|blobUpload)$/"}
    async with asyncio.TaskGroup() as group, server.tail(f"{device.path}/activity", wanted) as tail:
        download = group.create_task(downloader.run())
        await downloader.goes_on()
        object_store.kill()
        refused = await upload(server, device, "1.1"), await blob(server, device, b"photo")
        await tail.until("messageRejected", reason="storageFailed")
        ill = await health(server)
        await downloader.goes_on()
        object_store.start()
        began = time.monotonic()
        async with asyncio.timeout(PATIENCE):
            while (again := await upload(server, device, "1.1")).status == 503:
                await downloader.goes_on()
        print(f"{time.monotonic() - began:.1f} s until an upload is taken")  # noqa: T201  # see `pytest -rP`
        stored = await blob(server, device, b"photo")
        await tail.until("blobUpload")
        download.cancel()

    assert (refused[0].status, refused[1]) == (503, 503)
    assert ill[0] == 200
    assert ill[1].startswith("degraded: s3://span-events/live: cannot be used: ")
    assert downloader.others == []
    assert (again.status, stored) == (200, 200)
    assert await health(server) == (200, "ok")
