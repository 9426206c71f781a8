"""F06: a datagram from an address of no device."""

from __future__ import annotations

from contextlib import closing

from span_events.events.reasons import MessageRejectedReason
from tests.faults.scene import EXTENDED, Scene, check_words


async def test_a_datagram_from_an_unknown_address_is_published_to_tokens_for_everything_only(scene: Scene) -> None:
    """Its sender is not known, so the event belongs to no collection."""
    server = scene.server
    reader = await server.create_token(f"/collections/{scene.device.collection}")
    async with (
        server.tail(query=EXTENDED) as everything,
        server.tail(headers={"X-API-Token": reader.text}) as reached,
    ):
        with closing(server.socket_at(server.free_address(), "datagrams")) as stranger:
            stranger.send(b"hello")
            event = await everything.until("messageRejected")
            remote = stranger.remote
        await scene.names_until_now()
        await reached.until("deviceUpdated")

    assert event["data"] == {
        "reason": "unknownAddress",
        "remoteAddress": remote,
        "bytes": "5",
        "transport": "udp",
    }
    assert event.keys().isdisjoint({"collectionId", "deviceId", "gatewayId"})
    check_words(event, "warning", MessageRejectedReason.UNKNOWN_ADDRESS.hint)
    assert "messageRejected" not in scene.tail.names + reached.names


async def test_a_coap_client_at_an_unknown_address_gets_4_01(scene: Scene) -> None:
    """The subscriber gets an event as well."""
    server = scene.server
    address = server.free_address()
    async with server.tail(query=EXTENDED) as everything:
        output = await server.coap_client(address, "-m", "post", "-e", "hello")
        event = await everything.until("messageRejected")

    assert output == "4.01"
    assert event["data"]["reason"] == "unknownAddress"
    assert event["data"]["transport"] == "coap"
    assert event["data"]["remoteAddress"].startswith(f"{address}:")
    assert event.keys().isdisjoint({"collectionId", "deviceId", "gatewayId"})


async def test_giving_the_address_to_a_device_is_the_cure(scene: Scene) -> None:
    """The hint helps from the next datagram on."""
    server = scene.server
    address = server.free_address()
    async with server.tail(query={"event": "messageRejected"}) as everything:
        with closing(server.socket_at(address, "datagrams")) as sender:
            sender.send(b"before")
            await everything.until("messageRejected", remoteAddress=sender.remote)
            await server.call("PATCH", scene.device.path, {"metadata": {"ciot": {"allocatedIp": address}}})
            sender.send(b"after it")
            await scene.published("upstreamMessage", bytes="8")

    assert "messageRejected" not in scene.tail.names
