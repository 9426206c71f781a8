"""F43: CoAP, CoAPS or HTTP sent to the port of datagrams."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.bench.live import Document
from tests.bench.programs import run
from tests.faults.scene import EXTENDED, Scene
from tests.faults.secure import SecureScene
from tests.listeners.coap.bench import post
from tests.wire.test_recognition import KNOWN

MQTT = KNOWN[-3][0]


def port_of(scene: Scene, listener: str) -> str:
    """Return the port of a listener."""
    return scene.server.addresses[listener].rpartition(":")[2]


def coap_detail(scene: Scene, words: str) -> str:
    """Return the sentence for octets that look like CoAP."""
    return f"looks like CoAP ({words}): CoAP has port {port_of(scene, 'coap')}, CoAPS {port_of(scene, 'coaps')}"


async def test_coap_is_a_message_that_names_the_port_and_takes_no_downstream_message(scene: Scene) -> None:
    """The waiting message goes with the next ordinary datagram."""
    device = scene.udp()
    queued = await scene.server.call("POST", f"{scene.device.path}/outbox", {"payload": "bGFtcA=="})
    device.send(post(b"hello"))
    data = (await scene.published("upstreamMessage"))["data"]
    device.send(b"hello")
    answer = await device.receive()

    assert queued
    assert (data["looksLike"], data["expectedPort"]) == ("CoAP", port_of(scene, "coap"))
    assert data["detail"] == coap_detail(scene, "CON POST /x")
    assert answer == b"lamp"
    assert (await scene.names_until_now()).count("upstreamMessage") == 2


@pytest.mark.parametrize(
    ("octets", "protocol", "listener"),
    [(b"POST /x HTTP/1.1\r\nHost: a\r\n\r\nhello", "HTTP", "blobs"), (MQTT, "MQTT", None)],
)
async def test_http_and_mqtt_are_marked(scene: Scene, octets: bytes, protocol: str, listener: str | None) -> None:
    """MQTT has no port here, so none is named."""
    scene.udp().send(octets)
    data = (await scene.published("upstreamMessage"))["data"]

    assert data["looksLike"] == protocol
    assert data.get("expectedPort") == (listener and port_of(scene, listener))
    assert data["detail"].startswith(f"looks like {protocol} (")


async def test_a_stranger_is_told_the_port_as_well(scene: Scene) -> None:
    """The address is unknown, and the port is wrong: the developer mends both at once."""
    server = scene.server
    async with server.tail(query=EXTENDED) as everything:
        with closing(server.socket_at(server.free_address(), "datagrams")) as stranger:
            stranger.send(post(b"hello"))
            data: Document = (await everything.until("messageRejected", remoteAddress=stranger.remote))["data"]

    assert (data["reason"], data["looksLike"]) == ("unknownAddress", "CoAP")
    assert data["expectedPort"] == port_of(scene, "coap")
    assert data["detail"] == coap_detail(scene, "CON POST /x")


async def test_an_ordinary_payload_has_no_mark(scene: Scene) -> None:
    """The octets of the event stay as they were."""
    scene.udp().send(b'{"temperature": 21.5}')
    data = (await scene.published("upstreamMessage"))["data"]

    assert data.keys() == {"bytes", "messageId", "transport"}


async def test_coaps_is_a_message_that_names_the_port_of_coaps(secure: SecureScene) -> None:
    """A real client with a PSK, at the port where DTLS carries plain datagrams."""
    scene = secure.scene
    await scene.server.set_psk(scene.device, b"pump", b"0123456789abcdef")
    program = ("coap-client-openssl", "-u", "pump", "-k", "0123456789abcdef", "-B", "1", "-m", "post", "-e", "hello")
    await run(*program, f"coaps://{scene.server.addresses['datagrams']}/x")
    data = (await scene.published("upstreamMessage", transport="dtls"))["data"]

    assert (data["looksLike"], data["expectedPort"]) == ("CoAP", port_of(scene, "coaps"))
    assert data["detail"] == coap_detail(scene, "CON POST /x")
