"""Cellular devices: attach, message, detach, with a restart of the server in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.live import LiveServer
from tests.faults.mobile import SETTINGS, open_mobile_scene


@pytest.fixture
def mobile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that a mobile core may ask, and that this module may restart."""
    with LiveServer(tmp_path_factory.mktemp("mobile"), SETTINGS) as started:
        yield started


async def test_a_device_attaches_sends_and_leaves(mobile_server: LiveServer) -> None:
    """Each step is one event with the data of the network; a detach frees the address."""
    async with open_mobile_scene(mobile_server) as mobile:
        scene = mobile.scene
        connected = await mobile.attach()
        sender = scene.udp()
        sender.send(b"hello")
        await scene.published("upstreamMessage", bytes="5")
        device = await mobile_server.call("GET", scene.device.path)
        await mobile.detach()
        left = await scene.published("ciotDisconnect")
        ended = await scene.published("clientDisconnected")
        sender.send(b"too late")
        await scene.published("messageRejected", remoteAddress=sender.remote, reason="notAttached")

    assert scene.tail.names[:3] == ["ciotConnect", "clientConnected", "upstreamMessage"]
    assert connected == {
        "imsi": mobile.sim.imsi,
        "imei": mobile.sim.imei,
        "allocatedIp": mobile.address,
        "apn": "mda.test",
        "cellId": connected["cellId"],
        "mcc": "242",
        "mnc": "01",
        "network": connected["network"],
        "rat": connected["rat"],
    }
    ciot = device["metadata"]["ciot"]
    assert (ciot["allocatedIp"], ciot["lastImsi"], ciot["lastImei"]) == (
        mobile.address,
        mobile.sim.imsi,
        mobile.sim.imei,
    )
    assert (ciot["mcc"], ciot["mnc"], ciot["countryCode"]) == (242, 1, "NO")
    assert (left["data"]["reason"], left["data"]["cause"], left["data"]["seconds"]) == ("stop", "User-Request", "120")
    assert ended["data"]["reason"] == "detached"


async def test_a_message_of_a_detached_device_is_rejected(mobile_server: LiveServer) -> None:
    """The address stays reserved, so the event belongs to the device's collection."""
    async with open_mobile_scene(mobile_server) as mobile:
        change = {"metadata": {"ciot": {"allocatedIp": mobile.address}}}
        await mobile_server.call("PATCH", mobile.scene.device.path, change)
        await mobile.attach()
        await mobile.detach()
        await mobile.scene.published("ciotDisconnect")
        answer = await mobile_server.coap_client(mobile.address, "-m", "post", "-e", "hello")
        rejected = await mobile.scene.published("messageRejected")

    assert answer == "4.01"
    assert rejected["deviceId"] == mobile.scene.device.id
    assert rejected["data"]["reason"] == "notAttached"


async def test_a_restart_between_attach_and_datagram_changes_nothing(mobile_server: LiveServer) -> None:
    """The mobile core does not repeat its accounting for attached devices."""
    async with open_mobile_scene(mobile_server) as mobile:
        await mobile.attach()
        activity = f"/span/collections/{mobile.scene.device.collection}/activity"
        mobile_server.stop()
        mobile_server.start()
        async with mobile_server.tail(activity) as tail:
            mobile.scene.udp().send(b"hello")
            message = await tail.until("upstreamMessage", bytes="5")

    assert tail.names == ["clientConnected", "upstreamMessage"]
    assert message["deviceId"] == mobile.scene.device.id
