"""Requests as the original clients write them."""

from __future__ import annotations

import base64

from tests.bench.live import LiveServer


async def test_clients_05_an_endpoint_with_a_slash_at_its_end_works(server: LiveServer) -> None:
    """Its clients ask for //span/…: requests with a body, with a query, and streams."""
    device = await server.add_device(await server.add_collection())
    path = f"/{device.path}/outbox"
    async with server.tail(f"//span///collections/{device.collection}/activity") as tail:
        added = await server.request("POST", path, {"payload": base64.b64encode(b"lamp").decode()})
        await tail.until("downstreamQueued")
    listed = await server.request("GET", f"{path}?limit=1")

    assert (added.status, listed.status) == (200, 200)
    assert [each["messageId"] for each in listed.document["messages"]] == [added.document["messageId"]]


async def test_clients_05_a_waiting_message_was_not_sent_in_1970(server: LiveServer) -> None:
    """Its field `sentTime` comes with the sending."""
    device = await server.add_device(await server.add_collection())
    path = f"{device.path}/outbox"
    await server.request("POST", path, {"payload": base64.b64encode(b"lamp").decode()})
    waiting = (await server.request("GET", path)).document["messages"][0]
    await server.coap_client(device.address, "-m", "get")
    while "sentTime" not in (sent := (await server.request("GET", path)).document["messages"][0]):
        pass

    assert "sentTime" not in waiting
    assert int(sent["sentTime"]) >= int(sent["createdTime"])
