"""What clients see when the server stops while they are connected."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, closing
from pathlib import Path

from tests.bench.live import LiveServer
from tests.bench.programs import Program
from tests.e2e.subscribers.test_wscat import WSCAT


async def test_every_stream_ends_with_1001(tmp_path: Path) -> None:
    """All streams of each kind get the published events first; the exit status is 0."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        collection = f"/span/collections/{device.collection}"
        paths = ["/span/activity", f"{collection}/activity", f"{device.path}/activity"] * 10
        paths += [f"{collection}/from", f"{device.path}/from"] * 10
        async with AsyncExitStack() as stack:
            tails = [await stack.enter_async_context(server.tail(path)) for path in paths]
            with closing(server.socket_at(device.address, "datagrams")) as sender:
                for _ in range(100):
                    sender.send(b"hello")
                await tails[0].until("upstreamMessage")
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            ends = await asyncio.gather(*(tail.closed() for tail in tails))
            await stopping

    assert set(ends) == {(1001, "the server shuts down")}
    received = {len(tail.seen) for tail in tails[:30]} | {len(tail.seen) + 1 for tail in tails[30:]}
    assert len(received) == 1, "all saw the same: clientConnected besides the messages, on activity streams"


async def test_wscat_shows_the_close_code(tmp_path: Path) -> None:
    """What a person sees."""
    with LiveServer(tmp_path) as server:
        command = (WSCAT, "-H", f"X-API-Token: {server.token}", "-c", f"ws://{server.addresses['http']}/span/activity")
        async with Program(*command, terminal=True) as wscat:
            while "Connected" not in await wscat.line():
                pass
            await asyncio.to_thread(server.stop)
            while "Disconnected" not in (line := await wscat.line()):
                pass

    assert "code: 1001" in line
    assert "the server shuts down" in line


async def test_an_accepted_message_is_not_lost(tmp_path: Path) -> None:
    """What the device said last, and what waits for it, is there after the next start."""
    with LiveServer(tmp_path) as server:
        device = await server.add_device(await server.add_collection())
        await server.coap_client(device.address, "-m", "post", "-e", "hello")
        await server.call("POST", f"{device.path}/outbox", {"payload": "bGFtcA=="})
        server.stop()
        server.start()
        seen = await server.call("GET", device.path)
        output = await server.coap_client(device.address, "-m", "get")

    assert seen["lastPayload"] == "aGVsbG8="
    assert output == "lamp"
