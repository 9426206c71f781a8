"""F23: an acknowledgement is lost, and the device sends the same CON again."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

from tests.faults.scene import Scene, check_words
from tests.listeners.coap.bench import RawClient, post


class LossyLink:
    """
    A network between a client and the server that loses the first datagram of the server.

    Args:
        outside: Socket at the device's address, towards the server.
    """

    def __init__(self, outside: RawClient) -> None:
        self._outside = outside
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside.setblocking(False)
        self._inside.bind(("127.0.0.1", 0))
        host, port = self._inside.getsockname()
        self.address = f"{host}:{port}"
        """Address of the link for the client."""
        self._client = ("", 0)
        self.lost = 0

    async def carry_out(self) -> None:
        """Forward the client's datagrams until cancelled."""
        while True:
            datagram, self._client = await asyncio.get_running_loop().sock_recvfrom(self._inside, 65_536)
            self._outside.send(datagram)

    async def carry_back(self) -> None:
        """Forward the server's datagrams, except the first."""
        await self._outside.receive()
        self.lost += 1
        while True:
            self._inside.sendto(await self._outside.receive(), self._client)

    def close(self) -> None:
        """Close the socket of the client's side."""
        self._inside.close()


async def test_a_real_client_gets_the_answer_to_a_retransmission_from_memory(scene: Scene) -> None:
    """Libcoap retransmits after 2 to 3 s (RFC 7252 §4.2); it gets its 2.01, and there is one upstream message."""
    with closing(LossyLink(scene.coap())) as link:
        tasks = [asyncio.ensure_future(each) for each in (link.carry_out(), link.carry_back())]
        output = await scene.server.coap_client("127.0.0.1", "-m", "post", "-e", "hello", target=link.address)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    event = await scene.published("messageDuplicate")
    names = await scene.names_until_now()

    assert (output, link.lost) == ("", 1)
    assert names == ["clientConnected", "upstreamMessage", "messageDuplicate"]
    message = scene.tail.seen[1]
    assert float(event["data"].pop("seconds")) > 1  # less than the 2 s if the server was busy at the first
    assert event["data"] == {"messageId": message["data"]["messageId"], "count": "2", "transport": "coap"}
    assert event["correlationIds"] == [f"cause:{message['data']['messageId']}"]
    check_words(event, "warning")


async def test_every_copy_gets_the_same_octets_and_is_counted(scene: Scene) -> None:
    """Three copies: one message, two events."""
    device = scene.coap()
    replies = []
    for _ in range(3):
        device.send(post(b"hello"))
        replies.append(await device.receive())
    first = await scene.published("messageDuplicate", count="2")
    second = await scene.published("messageDuplicate", count="3")
    names = await scene.names_until_now()

    assert len(set(replies)) == 1
    assert names.count("upstreamMessage") == 1
    assert first["data"]["messageId"] == second["data"]["messageId"]


async def test_another_request_with_the_same_message_id_is_no_duplicate(scene: Scene) -> None:
    """A device whose message ids begin again after each reboot must not lose messages."""
    device = scene.coap()
    await device.exchange(post(b"before the reboot", message_id=1))
    await device.exchange(post(b"after", message_id=1))
    names = await scene.names_until_now()

    assert names == ["clientConnected", "upstreamMessage", "upstreamMessage"]
