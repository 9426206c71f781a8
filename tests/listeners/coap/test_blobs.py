"""Blobs over CoAP: in one datagram, and in blocks with repetitions, gaps and pauses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from span_events.fleet.devices.devices import DeviceChange
from span_events.wire.coap.blocks import Block, read_block
from span_events.wire.coap.messages import Code, Option, decode, option_of, uint
from tests.bench.fleets import CAUSE
from tests.bench.waiting import until
from tests.listeners.coap.bench import CoapBench, coap_bench, post
from tests.listeners.coap.blob_bench import (
    BODY,
    LIMIT,
    METHOD,
    ROOM,
    Uploader,
    blob_bench,
    contents,
    files,
    rejection,
    services,
)
from tests.listeners.dtls.bench import DtlsBench, dtls_bench


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """A CoAP listener with small limits for blobs."""
    async with blob_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[DtlsBench]:
    """CoAP over DTLS."""
    async with dtls_bench(tmp_path, services=services) as bench:
        yield bench


@pytest.fixture
def uploader(coap: CoapBench) -> Uploader:
    """A client at the address of the device."""
    return Uploader(coap.client.exchange)


@METHOD
async def test_a_blob_may_fit_into_one_datagram(coap: CoapBench, method: str, code: Code) -> None:
    """A duplicate is answered from memory, and stores nothing."""
    request = post(b'{"a": 1}', path="blob", code=Code[method.upper()])
    first = await coap.client.exchange(request)
    again = await coap.client.exchange(request)

    assert first == again
    assert first.code == code
    assert contents(coap.fleet) == [b'{"a": 1}']
    assert coap.fleet.drain()[1][1]["contentType"] == "application/json"
    assert coap.fleet.messages == []


@pytest.mark.parametrize(("form", "found"), [(60, "application/cbor"), (65_000, "application/octet-stream")])
async def test_the_content_format_sets_the_media_type(coap: CoapBench, form: int, found: str) -> None:
    """Unknown formats are application/octet-stream."""
    await coap.client.exchange(post(b"\xa1\x01\x02", path="blob", options=((Option.CONTENT_FORMAT, uint(form)),)))

    assert coap.fleet.drain()[1][1]["contentType"] == found


@pytest.mark.parametrize("code", [Code.GET, Code.DELETE])
async def test_other_methods_are_rejected(coap: CoapBench, code: Code) -> None:
    """Clients download blobs with the REST API."""
    reply = await coap.client.exchange(post(path="blob", code=code))

    assert (reply.code, reply.payload) == (Code.METHOD_NOT_ALLOWED, f"{code.name}, wanted POST or PUT".encode())
    assert rejection(coap.fleet)["reason"] == "methodNotAllowed"


async def test_requests_to_other_paths_stay_messages(coap: CoapBench) -> None:
    """Similar paths included."""
    await coap.client.exchange(post(b"x", path="blob/photo"))
    await coap.client.exchange(post(b"y", path="Blob", message_id=2))

    assert coap.payloads == [b"x", b"y"]
    assert contents(coap.fleet) == []


async def test_each_block_is_acknowledged(uploader: Uploader, coap: CoapBench) -> None:
    """The response has the number of the block (RFC 7959 §2.3); tokens may differ."""
    replies = [await uploader.send(0), await uploader.send(1), await uploader.send(2, b"end", more=False)]
    numbers = [read_block(option_of(each, Option.BLOCK1) or b"").number for each in replies]

    assert [each.code for each in replies] == [Code.CONTINUE, Code.CONTINUE, Code.CREATED]
    assert numbers == [0, 1, 2]
    assert contents(coap.fleet) == [BODY[:2048] + b"end"]


async def test_a_repeated_block_is_ignored(uploader: Uploader, coap: CoapBench) -> None:
    """In the middle and at the end; there is no messageDuplicate, for the upload detects repeated blocks."""
    replies = [
        await uploader.send(0),
        await uploader.send(1),
        await uploader.send(1),
        await uploader.send(2),
        await uploader.send(1),
        await uploader.send(3, b"end", more=False),
        await uploader.send(3, b"end", more=False),
    ]

    assert [each.code for each in replies] == [Code.CONTINUE] * 5 + [Code.CREATED] * 2
    assert contents(coap.fleet) == [BODY[:3072] + b"end"]
    assert coap.fleet.names == ["clientConnected", "blobUpload"]


async def test_a_last_block_repeated_at_once_gets_the_same_answer(uploader: Uploader, coap: CoapBench) -> None:
    """The second copy arrives while the file is still being written."""
    await uploader.send(0)
    last = [uploader.request(Block(1, more=False, exponent=6), b"end") for _ in range(2)]
    for each in last:
        coap.client.send(each)
    replies = [decode(await coap.client.receive()) for _ in last]

    assert [each.code for each in replies] == [Code.CREATED] * 2
    assert contents(coap.fleet) == [BODY[:1024] + b"end"]


async def test_a_duplicate_is_answered_once_the_blob_is_stored(coap: CoapBench) -> None:
    """The client repeats its request before the answer is ready."""
    request = post(b"octets", path="blob")
    coap.client.send(request)
    reply = await coap.client.exchange(request)

    assert reply.code == Code.CREATED
    assert contents(coap.fleet) == [b"octets"]


async def test_the_block_size_may_shrink(uploader: Uploader, coap: CoapBench) -> None:
    """The offset of a block counts, not its number (RFC 7959 §2.3)."""
    await uploader.send(0)
    await uploader.send(4, exponent=4)
    reply = await uploader.send(5, b"end", more=False, exponent=4)

    assert reply.code == Code.CREATED
    assert contents(coap.fleet) == [BODY[:1280] + b"end"]


async def test_a_missing_block_is_published(uploader: Uploader, coap: CoapBench) -> None:
    """The client may continue with the missing block."""
    await uploader.send(0)
    reply = await uploader.send(2)
    data = rejection(coap.fleet)
    await uploader.send(1)
    done = await uploader.send(2, b"end", more=False)

    assert (reply.code, reply.payload) == (Code.REQUEST_ENTITY_INCOMPLETE, b"block 1 was expected, 2 came")
    assert (data["reason"], data["expected"], data["received"]) == ("blockMissing", "1", "2")
    assert done.code == Code.CREATED
    assert contents(coap.fleet) == [BODY[:2048] + b"end"]


async def test_an_upload_that_begins_in_the_middle_is_published(uploader: Uploader, coap: CoapBench) -> None:
    reply = await uploader.send(5)
    data = rejection(coap.fleet)

    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert (data["reason"], data["expected"], data["received"]) == ("blockMissing", "0", "5")
    assert files(coap.fleet) == []


async def test_block_0_begins_a_new_upload(uploader: Uploader, coap: CoapBench) -> None:
    """The earlier upload is dropped, as the client has given it up."""
    for _ in range(5):
        await uploader.send(0)
        await uploader.send(1)
    await uploader.send(2, b"end", more=False)
    await until(lambda: len(files(coap.fleet)) == 1)

    assert contents(coap.fleet) == [BODY[:2048] + b"end"]


@pytest.mark.parametrize(
    ("exponent", "payload", "detail"),
    [
        (7, b"x", "block size exponent is 7, wanted 0 to 6"),
        (6, b"x", "block 0 has 1 octets, its option says 1024"),
        (0, b"x" * 17, "block 0 has 17 octets, its option says 16"),
    ],
)
async def test_an_invalid_block_is_published(
    uploader: Uploader, coap: CoapBench, exponent: int, payload: bytes, detail: str
) -> None:
    reply = await uploader.send(0, payload, exponent=exponent)

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, detail.encode())
    assert rejection(coap.fleet)["detail"] == detail


async def test_a_blob_with_an_announced_size_over_the_limit_is_rejected_at_once(
    uploader: Uploader, coap: CoapBench
) -> None:
    """The response has the largest accepted size (RFC 7959 §2.9.3)."""
    reply = await uploader.send(0, options=((Option.SIZE1, uint(LIMIT + 1)),))
    data = rejection(coap.fleet)

    assert reply.code == Code.REQUEST_ENTITY_TOO_LARGE
    assert option_of(reply, Option.SIZE1) == uint(LIMIT)
    assert (data["reason"], data["limit"], data["bytes"]) == ("tooLarge", str(LIMIT), str(LIMIT + 1))
    assert files(coap.fleet) == []


async def test_a_blob_that_grows_over_the_limit_is_rejected(uploader: Uploader, coap: CoapBench) -> None:
    """The octets received so far are dropped."""
    block = bytes(1024)
    for number in range(LIMIT // 1024):
        await uploader.send(number, block)
    reply = await uploader.send(LIMIT // 1024, block)
    again = await uploader.send(LIMIT // 1024, block)
    await until(lambda: files(coap.fleet) == [])

    assert (reply.code, again.code) == (Code.REQUEST_ENTITY_TOO_LARGE, Code.REQUEST_ENTITY_INCOMPLETE)
    assert [data["reason"] for name, data in coap.fleet.drain() if name == "messageRejected"] == [
        "tooLarge",
        "blockMissing",
    ]


async def test_an_upload_over_the_limit_of_its_device_is_rejected(coap: CoapBench) -> None:
    """The response has the time of the next try (RFC 7252 §5.9.3.4)."""
    uploaders = [Uploader(coap.client_at("127.0.0.1").exchange) for _ in range(3)]
    replies = [await each.send(0) for each in uploaders]

    assert [each.code for each in replies] == [Code.CONTINUE, Code.CONTINUE, Code.SERVICE_UNAVAILABLE]
    assert option_of(replies[2], Option.MAX_AGE) == uint(10)
    assert rejection(coap.fleet)["reason"] == "serverBusy"


async def test_a_full_collection_is_published(uploader: Uploader, coap: CoapBench) -> None:
    """The announced sizes count, before the octets arrive."""
    other = Uploader(coap.client_at("127.0.0.1").exchange)
    await other.send(0, options=((Option.SIZE1, uint(LIMIT)),))
    reply = await uploader.send(0, options=((Option.SIZE1, uint(ROOM - LIMIT + 1)),))
    data = rejection(coap.fleet)

    assert (reply.code, reply.payload) == (
        Code.SERVICE_UNAVAILABLE,
        f"blobs.octets_per_collection is {ROOM}".encode(),
    )
    assert (data["reason"], data["limit"]) == ("storageFull", str(ROOM))


async def test_an_upload_of_a_removed_device_is_not_stored(uploader: Uploader, coap: CoapBench) -> None:
    """Its last block may be in flight already."""
    await uploader.send(0)
    coap.client.send(uploader.request(Block(1, more=False, exponent=6), b"end"))
    await coap.fleet.devices.remove(coap.device, cause=CAUSE)
    await uploader.send(1)
    await until(lambda: files(coap.fleet) == [])

    assert contents(coap.fleet) == []


async def test_blocks_of_two_devices_never_become_one_blob(uploader: Uploader, coap: CoapBench) -> None:
    """The mobile core gives the address to another device, whose blocks do not continue the first device's upload."""
    await uploader.send(0)
    await coap.fleet.devices.update(coap.device, DeviceChange(allocated_ip="10.0.0.99"), cause=CAUSE)
    await coap.fleet.device("127.0.0.1")
    reply = await uploader.send(1, b"end", more=False)

    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert contents(coap.fleet) == []


async def test_an_upload_with_too_long_a_pause_is_dropped_and_published(uploader: Uploader, coap: CoapBench) -> None:
    """The event has the number of received octets."""
    await uploader.send(0)
    coap.fleet.clock.shift(93.1)
    coap.fleet.blobs.sweep()
    told = rejection(coap.fleet)
    reply = await uploader.send(1)
    await until(lambda: files(coap.fleet) == [])

    assert (told["reason"], told["transport"]) == ("tooSlow", "coap")
    assert told["detail"] == "nothing came for 93 s after 1024 octets (coap.upload_timeout)"
    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE


async def test_the_rate_limit_of_messages_does_not_apply_to_blocks(tmp_path: Path) -> None:
    """An upload counts as one message."""
    async with coap_bench(tmp_path, services=services, messages={"rate": 1.0, "burst": 1}) as coap:
        uploader = Uploader(coap.client.exchange)
        replies = [await uploader.send(number) for number in range(90)]

        assert {each.code for each in replies} == {Code.CONTINUE}


async def test_a_failure_to_create_the_file_is_published(uploader: Uploader, coap: CoapBench) -> None:
    """The response is 5.03; the device may try again."""
    (coap.fleet.folder / "blobs").rename(coap.fleet.folder / "elsewhere")
    reply = await uploader.send(0)

    assert reply.code == Code.SERVICE_UNAVAILABLE
    assert rejection(coap.fleet)["reason"] == "storageFailed"


async def test_a_failure_to_finish_the_file_is_answered_with_5_03(uploader: Uploader, coap: CoapBench) -> None:
    """The answer to the last block waits for the disk, so that it reports the result."""
    await uploader.send(0)
    (coap.fleet.folder / "blobs").rename(coap.fleet.folder / "elsewhere")
    reply = await uploader.send(1, b"end", more=False)
    again = await uploader.send(1, b"end", more=False)

    assert (reply.code, again.code) == (Code.SERVICE_UNAVAILABLE, Code.SERVICE_UNAVAILABLE)
    assert contents(coap.fleet) == []


async def test_the_end_of_a_session_drops_its_upload(secure: DtlsBench) -> None:
    """No client can continue the upload."""
    client = await secure.client(coaps=True).connect()
    client.say(Uploader(client.exchange).request(Block(0, more=True, exponent=6), BODY[:1024]))
    await client.listen()
    client.leave()
    told = await secure.published(3)
    await until(lambda: files(secure.fleet) == [])

    assert [name for name, _ in told] == ["clientConnected", "messageRejected", "clientDisconnected"]
    assert told[1][1]["detail"] == "the session ended after 1024 octets"


async def test_stopping_the_listener_gives_up_delayed_answers(coap: CoapBench) -> None:
    """The blob is stored nevertheless, as it was complete."""
    coap.client.send(post(b"octets", path="blob"))
    await until(lambda: files(coap.fleet) != [])
    await coap.listener.stop()
    await coap.fleet.blobs.close()

    assert contents(coap.fleet) == [b"octets"]
