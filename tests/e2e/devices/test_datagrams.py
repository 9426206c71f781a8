"""Devices: libcoap's client, and netcat; from the datagram to the subscriber, and back."""

from __future__ import annotations

import asyncio
import base64

from tests.bench.live import Document, LiveDevice, LiveServer, Tail
from tests.bench.programs import Program, run


def netcat(server: LiveServer, device: LiveDevice) -> tuple[str, ...]:
    """Return the command that sends its input from the device's address and ends at the first reply."""
    host, _, port = server.addresses["datagrams"].rpartition(":")
    return ("nc", "-u", "-W", "1", "-s", device.address, host, port)


def tail(server: LiveServer, device: LiveDevice) -> Tail:
    """Make a subscriber of the device's collection with extended events."""
    return server.tail(f"/span/collections/{device.collection}/activity", {"extended": "1"})


async def first_contact(tail: Tail, device: LiveDevice) -> tuple[Document, Document]:
    """Check that a device appears and a message of it arrives; return the data of both events."""
    connected, message = await tail.next(), await tail.next()

    assert tail.names == ["clientConnected", "upstreamMessage"]
    for event in (connected, message):
        assert (event["collectionId"], event["deviceId"]) == (device.collection, device.id)
    return connected["data"], message["data"]


async def queue(server: LiveServer, device: LiveDevice, payload: bytes) -> str:
    """Let a message wait for a device."""
    body = {"payload": base64.b64encode(payload).decode()}
    return str((await server.call("POST", f"{device.path}/outbox", body))["messageId"])


async def test_a_coap_post_arrives(server: LiveServer, device: LiveDevice) -> None:
    """The command is coap-client -m post -e hello coap://…/x."""
    async with tail(server, device) as stream:
        output = await server.coap_client(device.address, "-m", "post", "-e", "hello")
        connected, message = await first_contact(stream, device)

    assert output == ""
    assert connected["remoteAddress"].startswith(f"{device.address}:")
    assert (message["transport"], message["bytes"]) == ("coap", "5")


async def test_a_plain_datagram_arrives(server: LiveServer, device: LiveDevice) -> None:
    """The text is typed into nc -u."""
    async with tail(server, device) as stream, Program(*netcat(server, device)) as nc:
        nc.say("hello")
        connected, message = await first_contact(stream, device)

    assert connected["remoteAddress"].startswith(f"{device.address}:")
    assert (message["transport"], message["bytes"]) == ("udp", "5")


async def test_a_waiting_message_comes_back_to_coap(server: LiveServer, device: LiveDevice) -> None:
    """The first message comes in the reply to a POST, the next in the reply to a GET."""
    waiting = [await queue(server, device, b"lamp on"), await queue(server, device, b"lamp off")]
    async with tail(server, device) as stream:
        output = [
            await server.coap_client(device.address, "-m", "post", "-e", "hello"),
            await server.coap_client(device.address, "-m", "get"),
        ]
        sent = [await stream.until("downstreamMessage") for _ in waiting]

    assert output == ["lamp on", "lamp off"]
    assert stream.names == ["clientConnected", "upstreamMessage", "downstreamMessage", "downstreamMessage"]
    assert [event["data"]["messageId"] for event in sent] == waiting
    assert [event["data"]["bytes"] for event in sent] == ["7", "8"]
    assert {event["data"]["transport"] for event in sent} == {"coap"}
    assert {event["deviceId"] for event in sent} == {device.id}


async def test_a_waiting_message_comes_back_as_a_datagram(server: LiveServer, device: LiveDevice) -> None:
    """To the port that the device sent from."""
    waiting = await queue(server, device, b"lamp on")
    async with tail(server, device) as stream:
        ended = await run(*netcat(server, device), typed="hello")
        sent = await stream.until("downstreamMessage")

    assert (ended.status, ended.output) == (0, "lamp on")
    assert stream.names == ["clientConnected", "upstreamMessage", "downstreamMessage"]
    assert sent["deviceId"] == device.id
    assert (sent["data"]["messageId"], sent["data"]["bytes"], sent["data"]["transport"]) == (waiting, "7", "udp")
    outbox = await server.call("GET", f"{device.path}/outbox")
    assert [(each["messageId"], each["state"]) for each in outbox["messages"]] == [(waiting, "sent")]


async def test_devices_are_identified_by_their_addresses(server: LiveServer) -> None:
    """Only the source address counts, also for concurrent messages over both transports."""
    devices = [await server.add_device(await server.add_collection()) for _ in range(4)]
    async with server.tail(query={"event": "upstreamMessage"}) as stream:
        await asyncio.gather(
            *(
                server.coap_client(device.address, "-m", "post", "-e", "x" * size)
                for size, device in enumerate(devices, start=1)
            )
        )
        for device in devices:
            async with Program(*netcat(server, device)) as nc:
                nc.say("hello")
                await stream.until("upstreamMessage", transport="udp")

    came = {(event["collectionId"], event["deviceId"], event["data"]["bytes"]) for event in stream.seen}
    assert len(stream.seen) == 8
    assert came == {
        (device.collection, device.id, size)
        for number, device in enumerate(devices, start=1)
        for size in (str(number), "5")
    }
