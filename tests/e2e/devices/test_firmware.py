"""A device's update from the first report to the last: libcoap's client, the command line, and rough networks."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from span_events.simulator.coap import CoapClient, Timing
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import Code, Option
from span_events.wire.fota import Report, Response, decode_response, encode_report
from tests.bench.live import COAP_CLIENT, LiveDevice, LiveServer
from tests.bench.peers.relay import Relay, rough
from tests.bench.programs import PROGRAM, run

OLD, NEW = (encode_report(Report(version, "model 01", "0001", "Lab5e Demo Corp")) for version in ("1.0.0", "1.1.0"))
IMAGE = random.Random(1).randbytes(1_048_577)
"""One octet over 1 MiB: more blocks than a device may send messages at once, and a last one of one octet."""


async def command(server: LiveServer, device: LiveDevice, *arguments: str | Path) -> str:
    """Run a command about the device, as one who has set the README's variables; return what it prints."""
    environment = {
        "SPAN_API_ENDPOINT": f"http://{server.addresses['http']}",
        "SPAN_API_TOKEN": server.token,
        "SPAN_COLLECTION_ID": device.collection,
        "SPAN_DEVICE_ID": device.id,
    }
    ended = await run(PROGRAM, *map(str, arguments), environment=environment)
    assert ended.status == 0, ended.complaints
    return ended.output.strip()


@pytest.mark.parametrize("scheme", ["coap", "coaps"])
async def test_libcoap_updates_a_device(server: LiveServer, device: LiveDevice, tmp_path: Path, scheme: str) -> None:
    """Report, response, image octet by octet, report: over CoAP by address, over CoAPS with a certificate."""
    for name, octets in (("app.bin", IMAGE), ("old", OLD), ("new", NEW)):
        (tmp_path / name).write_bytes(octets)
    image = await command(server, device, "firmware", "upload", tmp_path / "app.bin", "--version", "1.1.0")
    await command(server, device, "firmware", "assign", image, "--management", "collection")
    client: tuple[str | Path, ...] = (COAP_CLIENT, "-a", device.address, "-B", "60")
    if scheme == "coaps":
        files = await server.add_certificate(device)
        client = (COAP_CLIENT, "-B", "60", "-c", files.certificate, "-j", files.key, "-C", files.certificate)
    host, _, port = server.addresses[scheme].rpartition(":")

    async def libcoap(target: str, *arguments: str | Path) -> None:
        ended = await run(*map(str, (*client, *arguments)), f"{scheme}://{target}")
        assert (ended.status, ended.output, ended.complaints) == (0, "", "")

    async with server.tail(f"/span/collections/{device.collection}/activity", {"extended": "1"}) as tail:
        await libcoap(f"{server.addresses[scheme]}/u", "-m", "post", "-f", tmp_path / "old", "-o", tmp_path / "place")
        place = decode_response((tmp_path / "place").read_bytes())
        await libcoap(f"{place.host}:{place.port}{place.path}", "-m", "get", "-o", tmp_path / "image")
        await libcoap(f"{server.addresses[scheme]}/u", "-m", "post", "-f", tmp_path / "new", "-o", tmp_path / "place")
        await tail.until("firmwareStateChange", state="Current")
    story = [event for event in tail.seen if event["event"].startswith("firmware")]
    names = [event["event"] for event in story]
    percents = [int(event["data"]["percent"]) for event in story if "percent" in event["data"]]

    assert place == Response(host, int(port), "/fw", available=True)
    assert (tmp_path / "image").read_bytes() == IMAGE
    assert not decode_response((tmp_path / "place").read_bytes()).available
    assert names[:4] == ["firmwareCheck", "firmwareUpdateRequired", "firmwareRequested", "firmwareStateChange"]
    assert names[-3:] == ["firmwareCheck", "firmwareCurrent", "firmwareStateChange"]
    assert percents == list(range(0, 101, 10))
    assert {event["deviceId"] for event in story} == {device.id}


async def test_a_download_despite_loss_is_complete_and_published_once(
    server: LiveServer, device: LiveDevice, tmp_path: Path
) -> None:
    """A fifth is lost each way, some comes twice: blocks that come again are neither progress nor another download."""
    octets = IMAGE[:30_000]
    (tmp_path / "app.bin").write_bytes(octets)
    image = await command(server, device, "firmware", "upload", tmp_path / "app.bin", "--version", "1.1.0")
    await command(server, device, "firmware", "assign", image, "--management", "collection")
    with Relay(server.addresses["coap"], device.address, there=rough(6), back=rough(7)) as relay:
        host, _, port = relay.address.rpartition(":")
        timing = Timing(ack_timeout=0.01, max_retransmit=12)
        async with server.tail(f"/span/collections/{device.collection}/activity") as tail:
            with CoapClient("127.0.0.1", (host, int(port)), timing=timing) as client:
                await client.post("u", OLD)
                fetched = await download(client)
                await client.post("u", NEW)
            await tail.until("firmwareStateChange", state="Current")
    story = [event for event in tail.seen if event["event"].startswith("firmware")]

    assert fetched == octets
    assert relay.lost > 15
    assert [int(event["data"]["percent"]) // 10 for event in story if "percent" in event["data"]] == list(range(11))
    assert [event["event"] for event in story if event["event"] != "firmwareStateChange"] == [
        *("firmwareCheck", "firmwareUpdateRequired", "firmwareRequested", "firmwareCheck", "firmwareCurrent")
    ]


async def download(client: CoapClient) -> bytes:
    """Fetch one block after the other."""
    octets, block = b"", Block(-1, more=True, exponent=5)
    while block.more:
        wanted = write_block(Block(block.number + 1, more=False, exponent=5))
        reply = await client.exchange(client.request(Code.GET, "fw", options=[(Option.BLOCK2, wanted)]))
        assert reply is not None
        found = block_of(reply, Option.BLOCK2)
        assert found is not None
        assert found.number == block.number + 1
        octets, block = octets + reply.payload, found
    return octets
