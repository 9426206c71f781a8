"""Events that named the wrong cause, or too little of it, as the field met them."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.bench.live import LiveServer
from tests.bench.peers.handmade_dtls import HandmadeClient
from tests.faults.scene import EXTENDED, Scene
from tests.faults.secure import LINE, SecureScene

CAUSES = 20
"""Different causes that one sender may cause events of in a window."""
IDENTITY, KEY = b"fie\0ld", b"0123456789abcdef"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that sums up after a second."""
    with LiveServer(tmp_path_factory.mktemp("server"), {"rejections.window": 1}) as started:
        yield started


async def test_diagnosis_03_another_cause_is_told_at_once_and_counted_apart(scene: Scene) -> None:
    """Twelve "version is 2", then three "token length 9"."""
    device = scene.coap()
    for octets, times in (("8001000161", 12), ("4901000261", 3)):
        for _ in range(times):
            device.send(bytes.fromhex(octets))
    counts: dict[str, int] = {}
    while sum(counts.values()) < 15:
        data = (await scene.published("messageRejected", reason="malformed"))["data"]
        counts[data["detail"]] = counts.get(data["detail"], 0) + int(data.get("count", "1"))

    assert sorted(counts.values()) == [3, 12]
    assert [each.split(",")[0] for each in counts] == ["version is 2", "token length is 9"]


async def test_diagnosis_12_the_end_names_the_session_of_a_device_that_has_two(secure: SecureScene) -> None:
    """Its address and port, and with ``extended=1`` its id."""
    scene, ports = secure.scene, [secure.free_port() for _ in range(2)]
    async with secure.client(bind=ports[0]) as first, secure.client(bind=ports[1]) as second:
        opened = [await scene.published("clientConnected") for _ in ports]
        for client in (first, second):
            client.say(LINE)
            await scene.published("upstreamMessage")
        await scene.server.call("PATCH", scene.device.path, {"enabled": False})
        ended = {(each := await scene.published("clientDisconnected"))["sessionId"]: each["data"] for _ in ports}

    assert {each["sessionId"]: each["data"]["remoteAddress"] for each in opened} == {
        key: data["remoteAddress"] for key, data in ended.items()
    }
    assert {data["remoteAddress"] for data in ended.values()} == set(ports)


async def test_diagnosis_12_strangers_of_one_prefix_are_summed_up(scene: Scene) -> None:
    """300 addresses with one datagram each were 300 events in a second."""
    async with scene.server.tail(query=EXTENDED) as everything:
        for host in range(1, 101):
            with closing(scene.server.socket_at(f"127.201.7.{host}", "datagrams")) as stranger:
                stranger.send(b"hello")
        counted = events = 0
        while counted < 100:
            event = await everything.until("messageRejected", reason="unknownAddress")
            counted += int(event["data"].get("count", "1"))
            events += 1

    assert events <= CAUSES + 2


async def test_device_09_an_identity_with_a_nul_is_set_over_rest_and_connects(scene: Scene) -> None:
    """Random octets contain one in 6 of 100 identities of 16 octets."""
    body = {"identity": b64encode(IDENTITY).decode(), "key": b64encode(KEY).decode()}
    await scene.server.call("PUT", f"{scene.device.path}/psk", body)
    host, _, port = scene.server.addresses["datagrams"].rpartition(":")
    with HandmadeClient((host, int(port)), psk=(IDENTITY, KEY)) as client:
        assert await asyncio.to_thread(client.connect)
        event = await scene.published("clientConnected")

    assert event["data"]["cipher"] == "PSK-AES128-CCM8"
