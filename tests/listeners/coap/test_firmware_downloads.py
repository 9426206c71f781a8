"""Downloads of firmware over CoAP: blocks, repetitions, reboots and refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from span_events.fleet.collections import CollectionChange
from span_events.registry.model import Image
from span_events.wire.coap.messages import CoapMessage, Code, Option, Type, decode, option_of, uint
from span_events.wire.fota import decode_response
from tests.bench.fleets import CAUSE
from tests.bench.peers.versitygw import ObjectStoreServer, needs_versitygw
from tests.listeners.coap.bench import CoapBench
from tests.listeners.coap.firmware_bench import (
    IMAGE,
    download,
    fetch,
    firmware_bench,
    give_target,
    report,
)


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """The same with default settings."""
    async with firmware_bench(tmp_path) as bench:
        yield bench


@pytest.mark.parametrize("exponent", [None, 0, 1, 2, 3, 4, 5, 6])
async def test_an_image_is_downloaded_in_blocks_of_any_size(coap: CoapBench, exponent: int | None) -> None:
    """ETag and Size2 are in every block; without Block2, blocks have 256 octets."""
    octets, replies = await download(coap, exponent)

    assert octets == IMAGE
    assert {each.code for each in replies} == {Code.CONTENT}
    assert len(replies) == -(-len(IMAGE) // (16 << (4 if exponent is None else exponent)))
    assert len({option_of(each, Option.ETAG) for each in replies}) == 1
    assert {option_of(each, Option.SIZE2) for each in replies} == {uint(len(IMAGE))}
    assert coap.device.firmware.state == "Updating"


async def test_the_configuration_sets_the_default_block_size(tmp_path: Path) -> None:
    """It applies to requests without Block2."""
    async with firmware_bench(tmp_path, firmware={"block_size": 128}) as coap:
        octets, replies = await download(coap, None)

    assert octets == IMAGE
    assert len(replies[0].payload) == 128


async def test_requests_for_blocks_are_repeatable_and_not_remembered(coap: CoapBench) -> None:
    """Each copy gets the same octets from the file, the first block included; no exchange is remembered."""
    requests = [fetch(number, message_id=number + 1) for number in (0, 0, 1, 1, 2, 2)]
    replies = [await coap.client.exchange(each) for each in requests]

    assert replies[::2] == replies[1::2]
    assert coap.listener.endpoint.remembered_exchanges == 0
    assert "messageDuplicate" not in coap.fleet.names
    assert coap.fleet.names.count("firmwareRequested") == 1


async def test_a_repeated_block_of_a_one_block_image_is_one_download(tmp_path: Path) -> None:
    """The reply was lost; one block both begins and completes the download."""
    async with firmware_bench(tmp_path, octets=b"tiny") as coap:
        replies = [await coap.client.exchange(fetch(None, message_id=1)) for _ in range(3)]

        assert [each.payload for each in replies] == [b"tiny"] * 3
        assert coap.fleet.names.count("firmwareRequested") == 1
        assert [data["state"] for name, data in coap.fleet.published if name == "firmwareStateChange"] == [
            "Downloading",
            "Updating",
        ]


# ---- a device that reboots, with a fixed port and message ids that begin with 0 ----------------


async def replay(coap: CoapBench, requests: list[bytes]) -> list[CoapMessage]:
    """Send requests from one port, like a device without memory after each boot."""
    return [await coap.client.exchange(each) for each in requests]


def boot(*, blocks: int) -> list[bytes]:
    """Return the requests of such a device: a report, then blocks, without tokens, with message ids from 0."""
    asked = [fetch(number, 6, token=b"", message_id=1 + number) for number in range(blocks)]
    return [report(token=b"", message_id=0), *asked]


async def test_a_report_of_the_old_version_after_a_reboot_is_processed(coap: CoapBench) -> None:
    """F31: the report has the same octets as before the download, but is no duplicate."""
    await replay(coap, boot(blocks=5))
    (again,) = await replay(coap, boot(blocks=0))

    assert not decode_response(again.payload).available
    assert coap.fleet.names.count("firmwareCheck") == 2
    assert coap.fleet.published[-1][1]["state"] == "UpdateFailed"
    assert "messageDuplicate" not in coap.fleet.names


async def test_a_report_whose_reply_was_lost_is_answered_from_memory(coap: CoapBench) -> None:
    """F23 for reports: one firmwareCheck, and the same octets in both replies."""
    first, again = await replay(coap, boot(blocks=0) * 2)

    assert first == again
    assert coap.fleet.names.count("firmwareCheck") == coap.fleet.names.count("messageDuplicate") == 1


async def test_after_a_changed_target_a_rebooted_device_gets_only_the_new_image(coap: CoapBench) -> None:
    """Block 0 belongs to the new image, though the request has the same octets as the earlier one."""
    other = IMAGE[::-1]
    await replay(coap, boot(blocks=2))
    await give_target(coap.fleet, coap.device, other, "1.2")
    _, *replies = await replay(coap, boot(blocks=5))

    assert b"".join(each.payload for each in replies) == other
    assert {each.code for each in replies} == {Code.CONTENT}
    assert len({option_of(each, Option.ETAG) for each in replies}) == 1


async def test_a_report_right_after_a_reboot_is_answered_for_the_new_target(coap: CoapBench) -> None:
    """The target is looked up for each report."""
    await replay(coap, boot(blocks=1))
    await coap.fleet.collections.update(coap.device.collection, CollectionChange(target_firmware_id=0), cause=CAUSE)
    (again,) = await replay(coap, boot(blocks=0))

    assert not decode_response(again.payload).available


async def test_the_rate_limit_of_messages_does_not_apply_to_downloads(tmp_path: Path) -> None:
    """The download has more blocks than the burst of messages."""
    async with firmware_bench(tmp_path, messages={"rate": 1.0, "burst": 20}) as coap:
        octets, _ = await download(coap, 0)

    assert octets == IMAGE


async def test_a_download_continues_from_another_address(coap: CoapBench) -> None:
    """A NAT gave the device another port; the device's identity selects the image."""
    first = await coap.client.exchange(fetch(0))
    coap.client = coap.client_at("127.0.0.1")
    rest, _ = await download(coap, 2, first=1)

    assert first.payload + rest == IMAGE


async def test_each_device_gets_its_own_image(coap: CoapBench) -> None:
    """All devices use the same path."""
    other = await coap.fleet.device("127.0.0.2")
    await give_target(coap.fleet, other, b"another image")
    mine = await coap.client.exchange(fetch(0))
    theirs = await coap.client_at("127.0.0.2").exchange(fetch(0))

    assert (mine.payload, theirs.payload) == (IMAGE[:64], b"another image")
    assert option_of(mine, Option.ETAG) != option_of(theirs, Option.ETAG)


async def test_a_device_without_target_firmware_gets_4_04(coap: CoapBench) -> None:
    """F32: response and event have the same diagnostic."""
    await coap.fleet.collections.update(coap.device.collection, CollectionChange(target_firmware_id=0), cause=CAUSE)
    coap.fleet.activities.clear()
    reply = await coap.client.exchange(fetch(0))
    (connected, (name, data)) = coap.fleet.published

    assert (reply.code, reply.payload) == (Code.NOT_FOUND, b"no target image is set")
    assert connected[0] == "clientConnected"
    assert (name, data["reason"], data["detail"]) == ("messageRejected", "noFirmware", "no target image is set")
    assert len({each.correlation_id for each in coap.fleet.events}) == 1


async def test_a_target_that_changes_during_a_download_is_answered_with_4_08(coap: CoapBench) -> None:
    """The device begins again with block 0, and never mixes two images."""
    await coap.client.exchange(fetch(0))
    await give_target(coap.fleet, coap.device, IMAGE[::-1], "1.2")
    refused = await coap.client.exchange(fetch(1, message_id=2))
    octets, _ = await download(coap, 2)

    assert refused.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert octets == IMAGE[::-1]


async def test_an_unreadable_image_is_answered_with_5_03(coap: CoapBench) -> None:
    """The device may try again."""
    coap.fleet.image_file(coap.device.firmware.target_firmware_id or _target(coap).id).unlink()
    reply = await coap.client.exchange(fetch(0))

    assert reply.code == Code.SERVICE_UNAVAILABLE
    assert coap.fleet.published[-1][1]["reason"] == "storageFailed"


@pytest.mark.parametrize(("number", "exponent"), [(0, 7), (5, 7), (79, 2), (1_048_575, 6)])
async def test_a_request_for_an_impossible_block_is_answered_with_4_00(
    coap: CoapBench, number: int, exponent: int
) -> None:
    """Size exponent 7, or beyond the end."""
    reply = await coap.client.exchange(fetch(number, exponent))

    assert reply.code == Code.BAD_REQUEST
    assert coap.fleet.published[-1][1]["reason"] == "malformed"


async def test_an_unknown_critical_option_is_rejected_in_a_later_block_too(coap: CoapBench) -> None:
    """F25 for requests that are not remembered."""
    request = fetch(1, options=((65_001, b"x"),))
    replies = [await coap.client.exchange(request) for _ in range(2)]

    assert [each.code for each in replies] == [Code.BAD_OPTION] * 2


# ---- images in an object store -----------------------------------------------------------------


@pytest.fixture
def object_store(tmp_path: Path) -> Iterator[ObjectStoreServer]:
    """An object store that a test may stop."""
    with ObjectStoreServer(tmp_path / "store") as server:
        yield server


def forget(coap: CoapBench) -> None:
    """Delete the local copies, as another node has them."""
    for path in (coap.fleet.folder / "copies" / "0" / "firmware").iterdir():
        path.unlink()


@needs_versitygw
async def test_the_first_request_waits_for_the_image(
    tmp_path: Path, object_store: ObjectStoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device sees an image like any other; a slow fetch is acknowledged, and answered separately."""
    async with firmware_bench(tmp_path, files=object_store.settings()) as coap:
        forget(coap)
        object_store.pause()
        monkeypatch.setattr("span_events.wire.coap.engine.ACK_DELAY", 0.0)
        acknowledged = await coap.client.exchange(fetch(0, message_id=1))
        object_store.resume()
        response = decode(await coap.client.receive())
        octets, _ = await download(coap, 6)

        assert (acknowledged.type, acknowledged.code) == (Type.ACK, Code.EMPTY)
        assert (response.type, response.code) == (Type.CON, Code.CONTENT)
        assert response.payload == IMAGE[: len(response.payload)]
        assert octets == IMAGE


@needs_versitygw
async def test_a_report_fetches_the_image_that_it_announces(tmp_path: Path, object_store: ObjectStoreServer) -> None:
    """Before the device asks for the first block."""
    async with firmware_bench(tmp_path, files=object_store.settings()) as coap:
        forget(coap)
        await coap.client.exchange(report())
        octets, _ = await download(coap, 6)

        assert octets == IMAGE


@needs_versitygw
async def test_without_object_store_and_copy_a_block_is_answered_with_5_03(
    tmp_path: Path, object_store: ObjectStoreServer
) -> None:
    """Max-Age says when to ask again; the event says why. Afterwards the same device gets the image."""
    async with firmware_bench(tmp_path, files=object_store.settings()) as coap:
        forget(coap)
        object_store.kill()
        refused = await coap.client.exchange(fetch(0, message_id=1))
        told = coap.fleet.published[-1]
        object_store.start()
        await coap.fleet.clock.advance(3.0)
        await coap.fleet.check_files()
        octets, _ = await download(coap, 6)

        assert refused.code == Code.SERVICE_UNAVAILABLE
        assert option_of(refused, Option.MAX_AGE) == uint(5)
        assert (told[0], told[1]["reason"]) == ("messageRejected", "storageFailed")
        assert octets == IMAGE


def _target(coap: CoapBench) -> Image:
    image = coap.fleet.directory.images.get(coap.device.collection.firmware.target_firmware_id)
    assert image is not None
    return image
