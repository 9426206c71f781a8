"""The right protocol at the wrong port, as the field met it."""

from __future__ import annotations

from tests.faults.scene import Scene
from tests.faults.test_f43_other_protocol_at_the_datagram_port import coap_detail
from tests.listeners.coap.bench import post


async def test_diagnosis_05_coap_at_the_datagram_port_uses_up_no_downstream_message(scene: Scene) -> None:
    """Neither the request nor its retransmission takes the message; the next poll by CoAP does."""
    queued = await scene.server.call("POST", f"{scene.device.path}/outbox", {"payload": "bGFtcA=="})
    device = scene.udp()
    for _ in range(2):
        device.send(post(b"hello"))
        data = (await scene.published("upstreamMessage"))["data"]
        assert data["detail"] == coap_detail(scene, "CON POST /x")
    reply = await scene.coap().exchange(post(b"hello"))

    assert queued
    assert reply.payload == b"lamp"
