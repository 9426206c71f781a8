"""Block-wise uploads and downloads (RFC 7959) as raw messages: order, gaps, repetitions, limits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from span_events.fleet.devices.devices import DeviceChange
from span_events.listeners.coap.transfers import PER_DEVICE, Transfers
from span_events.wire.coap.blocks import Block, read_block, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, option_of, uint
from tests.bench.fleets import CAUSE
from tests.listeners.coap.bench import CoapBench, coap_bench, get, post

BODY = bytes(range(256)) * 12
"""3,072 octets; no two blocks of one size are equal."""


def blocks(body: bytes, exponent: int = 6) -> list[tuple[Block, bytes]]:
    """Split a body into blocks."""
    size = 16 << exponent
    starts = range(0, len(body), size)
    return [
        (Block(number, start + size < len(body), exponent), body[start : start + size])
        for number, start in enumerate(starts)
    ]


class Uploader:
    """A client that uses a new token and message id for each block."""

    def __init__(self, coap: CoapBench, path: str = "up") -> None:
        self._coap = coap
        self._path = path
        self._numbers: Iterator[int] = count(100)

    async def send(self, block: Block, payload: bytes, *, options: Options = (), kind: Type = Type.CON) -> CoapMessage:
        """Send one block."""
        number = next(self._numbers)
        return await self._coap.client.exchange(
            post(
                payload,
                path=self._path,
                message_id=number,
                token=uint(number),
                kind=kind,
                options=((Option.BLOCK1, write_block(block)), *options),
            )
        )


def block_of(reply: CoapMessage, number: Option) -> Block:
    """Return a block option, which must be present."""
    value = option_of(reply, number)
    assert value is not None
    return read_block(value)


@pytest.mark.parametrize("exponent", [0, 2, 6])
@pytest.mark.parametrize("kind", [Type.CON, Type.NON])
async def test_an_upload_becomes_one_message(coap: CoapBench, exponent: int, kind: Type) -> None:
    """With any block size, and with a new token for each block."""
    body = BODY[: 40 << exponent]
    uploader = Uploader(coap)

    replies = [await uploader.send(block, part, kind=kind) for block, part in blocks(body, exponent)]

    assert [reply.code for reply in replies] == [Code.CONTINUE] * (len(replies) - 1) + [Code.CREATED]
    assert [block_of(reply, Option.BLOCK1).number for reply in replies] == list(range(len(replies)))
    assert coap.payloads == [body]
    assert coap.fleet.names == ["clientConnected", "upstreamMessage"]


async def test_uploads_to_two_paths_are_separate_messages(coap: CoapBench) -> None:
    """Remote and path identify an upload."""
    first, second = Uploader(coap, "a"), Uploader(coap, "b")
    for block, part in blocks(BODY):
        await first.send(block, part)
        await second.send(block, part[::-1])

    assert [message.coap_path for message in coap.fleet.messages] == ["/a", "/b"]
    assert coap.payloads[0] == BODY


async def readdress(coap: CoapBench) -> None:
    """Give the device's address to another device, like a mobile core."""
    await coap.fleet.devices.update(coap.device, DeviceChange(allocated_ip="10.0.0.99"), cause=CAUSE)
    await coap.fleet.device("127.0.0.1")


async def test_blocks_of_two_devices_never_become_one_message(coap: CoapBench) -> None:
    """The two devices had the same address."""
    uploader = Uploader(coap)
    first, *_, last = blocks(BODY[:2000])
    await uploader.send(*first)
    await readdress(coap)
    reply = await uploader.send(*last)

    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert coap.payloads == []


async def test_later_blocks_of_a_download_are_for_its_device_only(coap: CoapBench) -> None:
    """The next device with this address must not read them."""
    await coap.queue(BODY)
    await coap.client.exchange(post(code=Code.GET))
    await readdress(coap)
    reply = await fetch(coap, 1, message_id=11)

    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE


async def test_an_upload_that_begins_in_the_middle_is_incomplete(coap: CoapBench) -> None:
    """F26: 4.08, and an event with the missing block."""
    reply = await Uploader(coap).send(Block(1, True, 6), bytes(1024))

    assert (reply.code, reply.payload) == (Code.REQUEST_ENTITY_INCOMPLETE, b"block 0 was expected, 1 came")
    ((name, data),) = coap.fleet.published
    assert name == "messageRejected"
    assert (data["reason"], data["expected"], data["received"]) == ("blockMissing", "0", "1")


async def test_the_response_names_a_missing_block_which_can_be_sent_then(coap: CoapBench) -> None:
    """F26 again; the accepted blocks are kept."""
    uploader = Uploader(coap)
    (zero, one, two) = blocks(BODY)
    await uploader.send(*zero)
    gap = await uploader.send(*two)
    await uploader.send(*one)
    last = await uploader.send(*two)

    assert (gap.code, last.code) == (Code.REQUEST_ENTITY_INCOMPLETE, Code.CREATED)
    rejected = coap.fleet.published[1][1]
    assert (rejected["expected"], rejected["received"]) == ("1", "2")
    assert coap.payloads == [BODY]


async def test_a_repeated_block_is_answered_again_and_added_once(coap: CoapBench) -> None:
    """With a new message id, it is no duplicate for the message layer."""
    uploader = Uploader(coap)
    await coap.queue(b"lamp on")
    await coap.queue(b"lamp off")
    replies = [await uploader.send(*each) for each in blocks(BODY) for _ in range(2)]

    assert [reply.code for reply in replies] == [Code.CONTINUE] * 4 + [Code.CREATED] * 2
    assert replies[-1].payload == replies[-2].payload == b"lamp on"
    assert coap.payloads == [BODY]
    assert coap.fleet.names == ["clientConnected", "upstreamMessage", "downstreamMessage"]


async def test_block_0_begins_a_new_upload(coap: CoapBench) -> None:
    """The device rebooted in the middle."""
    uploader = Uploader(coap)
    for each in blocks(BODY)[:2]:
        await uploader.send(*each)
    for each in blocks(BODY[::-1]):
        await uploader.send(*each)

    assert coap.payloads == [BODY[::-1]]


async def test_an_upload_in_one_block_is_a_message_each_time(coap: CoapBench) -> None:
    """Clients that always send Block1 may send the same reading twice."""
    uploader = Uploader(coap)
    for _ in range(2):
        await uploader.send(Block(0, False, 6), b"21.5")

    assert coap.payloads == [b"21.5", b"21.5"]


async def test_an_upload_continues_with_a_smaller_block_size(coap: CoapBench) -> None:
    """Block numbers count in units of the block's own size."""
    uploader = Uploader(coap)
    await uploader.send(Block(0, True, 6), BODY[:1024])
    await uploader.send(Block(2, True, 5), BODY[1024:1536])
    reply = await uploader.send(Block(3, False, 5), BODY[1536:1600])

    assert reply.code == Code.CREATED
    assert coap.payloads == [BODY[:1600]]


@pytest.mark.parametrize(
    ("block", "length", "detail"),
    [
        (Block(0, True, 6), 1000, "block 0 has 1000 octets, its option says 1024"),
        (Block(0, False, 2), 65, "block 0 has 65 octets, its option says 64"),
        (Block(0, False, 7), 10, "block size exponent is 7, wanted 0 to 6"),
    ],
)
async def test_a_block_whose_size_contradicts_its_option_is_rejected(
    coap: CoapBench, block: Block, length: int, detail: str
) -> None:
    """4.00 (RFC 7959 §2.2, §2.3)."""
    reply = await Uploader(coap).send(block, bytes(length))

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, detail.encode())
    assert [data["detail"] for _, data in coap.fleet.published] == [detail]


async def test_an_upload_that_announces_too_much_is_rejected_at_once(tmp_path: Path) -> None:
    """F27: 4.13 with Size1, before the client has sent all octets."""
    async with coap_bench(tmp_path, messages={"max_payload": 2000}) as coap:
        reply = await Uploader(coap).send(Block(0, True, 6), bytes(1024), options=((Option.SIZE1, uint(3000)),))

        assert reply.code == Code.REQUEST_ENTITY_TOO_LARGE
        assert reply.payload == b"at most 2000 octets"
        assert option_of(reply, Option.SIZE1) == uint(2000)
        ((_, data),) = coap.fleet.published
        assert (data["reason"], data["limit"], data["bytes"]) == ("tooLarge", "2000", "3000")


async def test_an_upload_that_grows_too_large_is_rejected(tmp_path: Path) -> None:
    """F27 again; the accepted blocks are dropped."""
    async with coap_bench(tmp_path, messages={"max_payload": 2000}) as coap:
        uploader = Uploader(coap)
        codes = [(await uploader.send(*each)).code for each in blocks(BODY)[:2]]

        assert codes == [Code.CONTINUE, Code.REQUEST_ENTITY_TOO_LARGE]
        assert coap.listener.endpoint.unfinished_uploads == 0


async def test_a_single_datagram_can_be_too_large(tmp_path: Path) -> None:
    """F27 without blocks."""
    async with coap_bench(tmp_path, messages={"max_payload": 100}) as coap:
        reply = await coap.client.exchange(post(bytes(101)))

        assert reply.code == Code.REQUEST_ENTITY_TOO_LARGE
        assert option_of(reply, Option.SIZE1) == uint(100)
        assert [data["reason"] for _, data in coap.fleet.published] == ["tooLarge"]


async def test_a_device_that_begins_many_uploads_drops_its_own_and_not_those_of_others(tmp_path: Path) -> None:
    """From any number of its ports; blobs are in a table of the same kind."""
    async with coap_bench(tmp_path, coap={"unfinished_uploads": 2 * PER_DEVICE}) as coap:
        await coap.fleet.device("127.0.0.2")
        patient = Uploader(coap)
        await patient.send(*blocks(BODY)[0])
        for number in range(3 * PER_DEVICE):
            client = coap.client_at("127.0.0.2")
            block, payload = blocks(BODY)[0]
            await client.exchange(post(payload, path=f"{number}", options=((Option.BLOCK1, write_block(block)),)))
        reply = await patient.send(*blocks(BODY)[1])

        assert reply.code == Code.CONTINUE
        assert coap.listener.endpoint.unfinished_uploads == 1 + PER_DEVICE


def test_a_transfer_that_goes_on_is_not_the_oldest_of_its_device() -> None:
    table: Transfers[str] = Transfers(limit=100, lifetime=60.0)
    for number in range(PER_DEVICE):
        table.put(("port", (1, str(number))), "transfer", 0.0)
    table.put(("port", (1, "0")), "goes on", 1.0)
    table.put(("another port", (1, "new")), "transfer", 2.0)
    kept = [number for number in range(PER_DEVICE) if table.get(("port", (1, str(number))), 2.0)]

    assert kept == [0, *range(2, PER_DEVICE)]
    assert sorted(table.forget_peer("port")) == ["goes on", *["transfer"] * (PER_DEVICE - 2)]
    assert (len(table), table.forget_peer("port")) == (1, [])


async def test_unfinished_uploads_are_bounded(tmp_path: Path) -> None:
    """The upload with the longest pause is dropped."""
    async with coap_bench(tmp_path, coap={"unfinished_uploads": 2}) as coap:
        uploaders = [Uploader(coap, path) for path in "abc"]
        for uploader in uploaders:
            await uploader.send(*blocks(BODY)[0])
        replies = [await uploader.send(*blocks(BODY)[1]) for uploader in uploaders]

        assert coap.listener.endpoint.unfinished_uploads == 2
        assert [reply.code for reply in replies] == [
            Code.REQUEST_ENTITY_INCOMPLETE,
            Code.CONTINUE,
            Code.CONTINUE,
        ]


async def test_an_upload_that_pauses_too_long_is_dropped(tmp_path: Path) -> None:
    """MAX_TRANSMIT_WAIT, counted from the last block."""
    async with coap_bench(tmp_path, coap={"upload_timeout": 93.0}) as coap:
        uploader = Uploader(coap)
        await uploader.send(*blocks(BODY)[0])
        coap.fleet.clock.shift(92.0)
        in_time = await uploader.send(*blocks(BODY)[1])
        coap.fleet.clock.shift(93.0)
        late = await uploader.send(*blocks(BODY)[2])

        assert (in_time.code, late.code) == (Code.CONTINUE, Code.REQUEST_ENTITY_INCOMPLETE)


async def fetch(
    coap: CoapBench, number: int, *, exponent: int = 6, message_id: int, code: Code = Code.GET
) -> CoapMessage:
    """Request a block by number."""
    option = (Option.BLOCK2, write_block(Block(number, False, exponent)))
    return await coap.client.exchange(post(code=code, message_id=message_id, token=uint(message_id), options=(option,)))


@pytest.mark.parametrize("code", [Code.GET, Code.POST])
async def test_a_large_queued_message_is_sent_in_blocks(coap: CoapBench, code: Code) -> None:
    """The queue stays as it is, and the downstream message is published once."""
    await coap.queue(BODY)
    await coap.queue(b"next")
    first = await coap.client.exchange(post(code=code))
    replies = [first, *[await fetch(coap, number, message_id=10 + number, code=code) for number in (1, 2, 2)]]

    assert [block_of(reply, Option.BLOCK2) for reply in replies] == [
        Block(0, True, 6),
        Block(1, True, 6),
        Block(2, False, 6),
        Block(2, False, 6),
    ]
    assert b"".join(reply.payload for reply in replies[:3]) == BODY
    assert option_of(first, Option.SIZE2) == uint(len(BODY))
    assert len({option_of(reply, Option.ETAG) for reply in replies}) == 1
    assert coap.fleet.names.count("downstreamMessage") == 1
    assert coap.fleet.names.count("upstreamMessage") == (code == Code.POST)
    waiting = coap.fleet.outbox.next_for(coap.device)
    assert waiting is not None
    assert waiting.payload == b"next"


async def test_a_client_may_request_smaller_blocks(coap: CoapBench) -> None:
    """The first block included."""
    await coap.queue(BODY[:200])
    replies = [await fetch(coap, number, exponent=2, message_id=number) for number in range(4)]

    assert b"".join(reply.payload for reply in replies) == BODY[:200]
    assert [len(reply.payload) for reply in replies] == [64, 64, 64, 8]


async def test_an_unfinished_download_can_begin_again(coap: CoapBench) -> None:
    """An explicit block 0 returns the same message until its last block was fetched, then the next one."""
    await coap.queue(BODY)
    await coap.queue(b"next")
    begun = [await fetch(coap, 0, message_id=number) for number in (1, 2)]
    for number in (1, 2):
        await fetch(coap, number, message_id=10 + number)
    after = await fetch(coap, 0, message_id=20)

    assert [reply.payload for reply in begun] == [BODY[:1024]] * 2
    assert after.payload == b"next"


async def test_a_request_for_a_later_block_without_a_download_is_rejected(coap: CoapBench) -> None:
    """4.08, as with uploads."""
    reply = await fetch(coap, 3, message_id=1)

    assert reply.code == Code.REQUEST_ENTITY_INCOMPLETE
    ((_, data),) = coap.fleet.published
    assert (data["reason"], data["expected"], data["received"]) == ("blockMissing", "0", "3")


async def test_a_request_for_a_block_beyond_the_end_is_rejected(coap: CoapBench) -> None:
    """4.00."""
    await coap.queue(BODY)
    await coap.client.exchange(get())

    reply = await fetch(coap, 3, message_id=2)

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, b"block 3 is asked for, the last one is 2")


async def test_a_large_reply_to_an_upload_has_both_block_options(coap: CoapBench) -> None:
    """RFC 7959 §3.3."""
    await coap.queue(BODY)
    uploader = Uploader(coap)
    replies = [await uploader.send(*each) for each in blocks(BODY)]

    assert block_of(replies[-1], Option.BLOCK1) == Block(2, False, 6)
    assert block_of(replies[-1], Option.BLOCK2) == Block(0, True, 6)
    assert replies[-1].payload == BODY[:1024]
