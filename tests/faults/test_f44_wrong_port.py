"""F44: DTLS sent to 5683, plain CoAP to 5684, TLS or HTTP to each other's port, MQTT anywhere."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing

import pytest

from span_events.events.reasons import MessageRejectedReason
from tests.bench.live import Document
from tests.bench.waiting import PATIENCE
from tests.faults.scene import EXTENDED, Scene
from tests.faults.test_f43_other_protocol_at_the_datagram_port import MQTT, coap_detail, port_of
from tests.listeners.coap.bench import RawClient, post
from tests.wire.test_recognition import CLIENT_HELLO, DTLS_HELLO

HTTP = b"GET /data HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "protocol", "listener"),
    [(DTLS_HELLO, "DTLS", "coaps"), (HTTP, "HTTP", "blobs"), (MQTT, "MQTT", None), (CLIENT_HELLO, "TLS", "blobs_tls")],
    ids=["DTLS", "HTTP", "MQTT", "TLS"],
)
async def test_the_coap_port_names_the_port_of_another_protocol(
    scene: Scene, octets: bytes, protocol: str, listener: str | None
) -> None:
    """For the device, and for a stranger."""
    server = scene.server
    scene.coap().send(octets)
    of_device = await scene.rejected(MessageRejectedReason.MALFORMED)
    async with server.tail(query=EXTENDED) as everything:
        with closing(server.socket_at(server.free_address(), "coap")) as stranger:
            stranger.send(octets)
            of_stranger = (await everything.until("messageRejected", remoteAddress=stranger.remote))["data"]

    for data in (of_device, of_stranger):
        assert data["looksLike"] == protocol
        assert data.get("expectedPort") == (listener and port_of(scene, listener))
        assert data["detail"].startswith(f"looks like {protocol} (")


async def test_plain_coap_at_the_coaps_port_names_the_coap_port(scene: Scene) -> None:
    """The event is whose address it is, or nobody's."""
    server = scene.server
    async with server.tail(query=EXTENDED) as everything:
        with closing(server.socket_at(scene.device.address, "coaps")) as device:
            device.send(post(b"hello"))
            data: Document = (await everything.until("messageRejected", remoteAddress=device.remote))["data"]

    assert (data["reason"], data["looksLike"]) == ("malformed", "CoAP")
    assert data["expectedPort"] == port_of(scene, "coap")
    assert data["detail"] == coap_detail(scene, "CON POST /x")


@pytest.mark.parametrize(
    ("octets", "protocol", "listener"), [(CLIENT_HELLO, "TLS", "blobs_tls"), (MQTT, "MQTT", None)], ids=["TLS", "MQTT"]
)
async def test_the_http_port_of_blobs_names_the_port_of_another_protocol(
    scene: Scene, octets: bytes, protocol: str, listener: str | None
) -> None:
    """The client gets the sentence, too."""
    answer = await _say(scene, scene.device.address, "blobs", octets)
    data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert data["looksLike"] == protocol
    assert data.get("expectedPort") == (listener and port_of(scene, listener))
    assert data["detail"].encode() in answer


@pytest.mark.parametrize(("octets", "protocol", "listener"), [(HTTP, "HTTP", "blobs"), (MQTT, "MQTT", None)])
async def test_the_https_port_of_blobs_names_the_port_of_another_protocol(
    scene: Scene, octets: bytes, protocol: str, listener: str | None
) -> None:
    """A client that was not let in, with a hint that fits."""
    async with scene.server.tail(query=EXTENDED) as everything:
        await _say(scene, scene.device.address, "blobs_tls", octets)
        data = (await everything.until("clientRejected", reason="wrongProtocol"))["data"]

    assert data["looksLike"] == protocol
    assert data.get("expectedPort") == (listener and port_of(scene, listener))


@pytest.mark.parametrize(("octets", "words"), [(HTTP, "HTTP has TCP port"), (MQTT, "MQTT is not served here")])
async def test_the_port_of_gateways_names_the_port_of_another_protocol(scene: Scene, octets: bytes, words: str) -> None:
    async with scene.server.tail(query=EXTENDED) as everything:
        await _say(scene, scene.device.address, "gateways", octets)
        data = (await everything.until("gatewayRejected", reason="notTls"))["data"]

    assert words in data["detail"]


async def test_the_ports_of_the_sentence_are_those_of_the_configuration(scene: Scene) -> None:
    """MQTT is told what to use in its place."""
    device: RawClient = scene.coap()
    device.send(MQTT)
    data = await scene.rejected(MessageRejectedReason.MALFORMED)

    assert data["detail"] == (
        "looks like MQTT (CONNECT): MQTT is not served here; send a datagram to port "
        f"{port_of(scene, 'datagrams')} or a CoAP POST to port {port_of(scene, 'coap')}"
    )


async def _say(scene: Scene, address: str, listener: str, octets: bytes) -> bytes:
    """Send octets over TCP and return the answer to its end."""
    host, _, port = scene.server.addresses[listener].rpartition(":")
    with closing(socket.socket()) as client:
        client.setblocking(False)
        client.bind((address, 0))
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE):
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, octets)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while more := await loop.sock_recv(client, 65_536):
                answer += more
    return answer
