"""Firmware over CoAP and CoAPS: reports and downloads with our own clients, and with libcoap's."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from span_events.config import FirmwareConfig
from span_events.events.message import Transport
from span_events.fleet.collections import CollectionChange
from span_events.listeners.coap.answer import Answer
from span_events.listeners.coap.firmware import CoapFirmware
from span_events.listeners.coap.peer import Peer
from span_events.listeners.coap.service import MakeService
from span_events.registry.model import Device, Image, Management
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, decode, option_of, uint
from span_events.wire.fota import Report, Response, decode_response, encode_report
from tests.bench.fleets import CAUSE, FleetBench, fleet_bench
from tests.bench.waiting import until
from tests.listeners.coap.bench import PATIENCE, CoapBench, Services, coap_bench, get, post
from tests.listeners.coap.test_libcoap import CLIENT
from tests.listeners.dtls.bench import address_of, dtls_bench

IMAGE: Final = random.Random(5).randbytes(5_000)
REPORT: Final = encode_report(Report("1.0", "model 01", "0001", "Lab5e Demo Corp"))


def firmware_services(**settings: Any) -> Services:
    """Serve firmware; keywords are settings of the table [firmware]."""

    def make(fleet: FleetBench) -> list[MakeService]:
        config = FirmwareConfig(**settings)
        return [partial(CoapFirmware, config, firmware=fleet.firmware, reception=fleet.reception)]

    return make


async def give_target(fleet: FleetBench, device: Device, octets: bytes = IMAGE, version: str = "1.1") -> Image:
    """Make an image, and let the device's collection run it."""
    image = await fleet.image(device.collection, version, octets)
    change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
    await fleet.collections.update(device.collection, change, cause=CAUSE)
    fleet.activities.clear()
    return image


@asynccontextmanager
async def firmware_bench(folder: Path, *, octets: bytes = IMAGE, **settings: Any) -> AsyncIterator[CoapBench]:
    """Start a listener with a device that should run an image."""
    services = firmware_services(**settings.pop("firmware", {}))
    async with coap_bench(folder, services=services, **settings) as bench:
        await give_target(bench.fleet, bench.device, octets)
        yield bench


@pytest.fixture
async def coap(tmp_path: Path) -> AsyncIterator[CoapBench]:
    """The same with default settings."""
    async with firmware_bench(tmp_path) as bench:
        yield bench


def report(payload: bytes = REPORT, **options: Any) -> bytes:
    """Write a report."""
    return post(payload, path="u", **options)


def fetch(number: int | None = None, exponent: int = 2, *, options: Options = (), **others: Any) -> bytes:
    """Write a request for a block."""
    block = () if number is None else ((int(Option.BLOCK2), write_block(Block(number, False, exponent))),)
    return get(path="fw", options=(*block, *options), **others)


async def download(coap: CoapBench, exponent: int | None, *, first: int = 0) -> tuple[bytes, list[CoapMessage]]:
    """Fetch blocks one by one, each with a token and a message id of its own, until there is no more."""
    replies: list[CoapMessage] = []
    number, octets, size = first, b"", exponent
    while True:
        wanted = None if size is None else number
        token, message_id = bytes([65 + number % 26]), 1000 + number
        replies.append(await coap.client.exchange(fetch(wanted, size or 0, token=token, message_id=message_id)))
        block = block_of(replies[-1], Option.BLOCK2)
        assert replies[-1].token == token
        assert block is not None
        assert block.number == number
        octets += replies[-1].payload
        if not block.more:
            return octets, replies
        number, size = number + 1, block.exponent


# ---- reports -----------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [b"", b"t", b"12345678"])
@pytest.mark.parametrize("kind", [Type.CON, Type.NON])
async def test_a_report_is_answered_with_the_place_of_the_download(coap: CoapBench, token: bytes, kind: Type) -> None:
    """2.04, piggybacked: where this listener is bound. Span's own clients send no token."""
    reply = await coap.client.exchange(report(token=token, kind=kind))

    assert (reply.code, reply.token) == (Code.CHANGED, token)
    assert reply.type is (Type.ACK if kind is Type.CON else Type.NON)
    assert decode_response(reply.payload) == Response("127.0.0.1", coap.server[1], "/fw", available=True)
    assert coap.fleet.names == ["clientConnected", "firmwareCheck", "firmwareUpdateRequired"]
    assert len({each.correlation_id for each in coap.fleet.events}) == 1
    assert coap.payloads == []


async def test_where_nothing_waits_all_four_fields_are_there(coap: CoapBench) -> None:
    """Some devices leave what is missing uninitialised."""
    reply = await coap.client.exchange(report(encode_report(Report("1.1"))))

    assert decode_response(reply.payload) == Response("127.0.0.1", coap.server[1], "/fw", available=False)


async def test_the_configuration_says_where_to_download(tmp_path: Path) -> None:
    """Host, port and path; the path is served, and /fw is still no path of messages."""
    place = {"coap_host": "fw.example.com", "coap_port": 5700, "path": "/image"}
    async with firmware_bench(tmp_path, firmware=place) as coap:
        reply = await coap.client.exchange(report())
        image = await coap.client.exchange(get(path="image", message_id=2))
        other = await coap.client.exchange(get(path="fw", message_id=3))

    assert decode_response(reply.payload) == Response("fw.example.com", 5700, "/image", available=True)
    assert image.payload == IMAGE[:512]
    assert other.code == Code.NOT_IMPLEMENTED


@pytest.mark.parametrize(("bind", "client"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("::", "127.0.0.1")])
async def test_a_listener_on_all_addresses_tells_the_one_that_the_device_reached(
    tmp_path: Path, bind: str, client: str
) -> None:
    """As far as the system knows the way back."""
    async with firmware_bench(tmp_path, coap={"host": bind}, address=client) as coap:
        coap.server = (client, coap.server[1])
        reply = await coap.client_at(client).exchange(report())

    assert decode_response(reply.payload).host == client


@pytest.mark.parametrize(
    ("bound", "remote", "why"),
    [
        (
            "2001:db8:1234:5678:9abc:def0:1:2",
            "2001:db8::2",
            "devices have room for 24 characters, not for 2001:db8:1234:5678:9abc:def0:1:2: set its host in [firmware]",
        ),
        (
            "0.0.0.0",
            "255.255.255.255",
            "the address that the device reached is not known: set its host in the table [firmware]",
        ),
    ],
)
async def test_an_address_that_devices_cannot_use_is_not_told(
    tmp_path: Path, bound: str, remote: str, why: str
) -> None:
    """It would overflow their buffers, or lead nowhere; the stream says what to set."""
    async with fleet_bench(tmp_path) as fleet:
        device = await fleet.device(remote)
        await give_target(fleet, device)
        service = firmware_services()(fleet)[0](Transport.COAP, (bound, 5683))
        request = decode(report())
        answer = service.answer(Peer(remote, (remote, 5683), device, request, None), "/u")
        name, data = fleet.told[-1]

    assert isinstance(answer, Answer)
    assert decode_response(answer.payload) == Response("", 5683, "/fw", available=False)
    assert (name, data["state"], data["message"]) == ("firmwareStateChange", "Pending", why)


@pytest.mark.parametrize(
    ("payload", "detail", "at"),
    [
        (b"", "the report has no version, wanted field 1 with text", "0"),
        (REPORT[5:], "the report has no version, wanted field 1 with text", str(len(REPORT) - 5)),
        (REPORT[:-1], "field 2 says 8 octets, 7 are left", str(len(REPORT) - 10)),
        (b"\x01\x01\xff", "field 1 is not UTF-8: 0xff stands there", "2"),
    ],
)
async def test_a_malformed_report_is_refused_and_told(coap: CoapBench, payload: bytes, detail: str, at: str) -> None:
    """F29: 4.00 in words, and the event with the octet."""
    reply = await coap.client.exchange(report(payload))
    ((name, data),) = coap.fleet.told

    assert (reply.code, reply.payload) == (Code.BAD_REQUEST, detail.encode())
    assert name == "messageRejected"
    assert data == {
        "reason": "malformed",
        "detail": detail,
        "at": at,
        "remoteAddress": coap.client.remote,
        "transport": "coap",
    }


async def test_a_report_in_blocks_is_refused(coap: CoapBench) -> None:
    """Unless it is whole in its first one."""
    blocks = [Block(0, True, 1), Block(1, False, 1), Block(0, False, 6)]
    replies = [
        await coap.client.exchange(report(message_id=number, options=((int(Option.BLOCK1), write_block(block)),)))
        for number, block in enumerate(blocks)
    ]

    assert [each.code for each in replies] == [Code.BAD_REQUEST, Code.BAD_REQUEST, Code.CHANGED]


async def test_other_methods_are_refused(coap: CoapBench) -> None:
    """POST u and GET fw, nothing else."""
    replies = [
        await coap.client.exchange(post(REPORT, path=path, code=code, message_id=number))
        for number, (path, code) in enumerate([("u", Code.GET), ("u", Code.PUT), ("fw", Code.POST), ("fw", 9)])
    ]
    details = [data["detail"] for _, data in coap.fleet.told]

    assert [each.code for each in replies] == [Code.METHOD_NOT_ALLOWED] * 4
    assert details == [
        "GET /u, wanted POST",
        "PUT /u, wanted POST",
        "POST /fw, wanted GET",
        "method 0.09 /fw, wanted GET",
    ]


async def test_a_report_that_comes_twice_is_one(coap: CoapBench) -> None:
    """F23 for reports: the reply from memory, and no second decision."""
    first = await coap.client.exchange(report())
    again = await coap.client.exchange(report())

    assert first == again
    assert coap.fleet.names == ["clientConnected", "firmwareCheck", "firmwareUpdateRequired", "messageDuplicate"]


# ---- downloads ---------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [None, 0, 1, 2, 3, 4, 5, 6])
async def test_an_image_is_downloaded_in_blocks_of_any_size(coap: CoapBench, exponent: int | None) -> None:
    """Identical; ETag and Size2 in every block; 512 octets where the device does not say."""
    octets, replies = await download(coap, exponent)

    assert octets == IMAGE
    assert {each.code for each in replies} == {Code.CONTENT}
    assert len(replies) == -(-len(IMAGE) // (16 << (5 if exponent is None else exponent)))
    assert len({option_of(each, Option.ETAG) for each in replies}) == 1
    assert {option_of(each, Option.SIZE2) for each in replies} == {uint(len(IMAGE))}
    assert coap.device.firmware.state == "Updating"


async def test_the_configuration_says_the_size_of_blocks(tmp_path: Path) -> None:
    """For those who do not."""
    async with firmware_bench(tmp_path, firmware={"block_size": 128}) as coap:
        octets, replies = await download(coap, None)

    assert octets == IMAGE
    assert len(replies[0].payload) == 128


async def test_blocks_are_repeatable_and_leave_no_trace(coap: CoapBench) -> None:
    """The same octets again, from the file, of the first block too; nothing is remembered as a message."""
    requests = [fetch(number, message_id=number + 1) for number in (0, 0, 1, 1, 2, 2)]
    replies = [await coap.client.exchange(each) for each in requests]

    assert replies[::2] == replies[1::2]
    assert coap.listener.endpoint.remembered_exchanges == 0
    assert "messageDuplicate" not in coap.fleet.names
    assert coap.fleet.names.count("firmwareRequested") == 1


async def test_an_image_of_one_block_is_requested_once_however_often_the_block_comes(tmp_path: Path) -> None:
    """Its reply was lost; the block that completes the download is also the one that begins it."""
    async with firmware_bench(tmp_path, octets=b"tiny") as coap:
        replies = [await coap.client.exchange(fetch(None, message_id=1)) for _ in range(3)]

        assert [each.payload for each in replies] == [b"tiny"] * 3
        assert coap.fleet.names.count("firmwareRequested") == 1
        assert [data["state"] for name, data in coap.fleet.told if name == "firmwareStateChange"] == [
            "Downloading",
            "Updating",
        ]


# ---- a device that reboots, with a fixed port and message ids that begin with 0 ----------------


async def replay(coap: CoapBench, requests: list[bytes]) -> list[CoapMessage]:
    """Send requests from the one port of the bench, as a device without memory does after each boot."""
    return [await coap.client.exchange(each) for each in requests]


def boot(*, blocks: int) -> list[bytes]:
    """Make what such a device sends: a report, then blocks; no tokens, ids from 0."""
    asked = [fetch(number, 6, token=b"", message_id=1 + number) for number in range(blocks)]
    return [report(token=b"", message_id=0), *asked]


async def test_a_device_that_reboots_with_its_old_version_is_seen(coap: CoapBench) -> None:
    """F31: the report is octet for octet the one before the download, and is news all the same."""
    await replay(coap, boot(blocks=5))
    (again,) = await replay(coap, boot(blocks=0))

    assert not decode_response(again.payload).available
    assert coap.fleet.names.count("firmwareCheck") == 2
    assert coap.fleet.told[-1][1]["state"] == "UpdateFailed"
    assert "messageDuplicate" not in coap.fleet.names


async def test_a_report_whose_reply_was_lost_is_answered_from_memory(coap: CoapBench) -> None:
    """F23 holds for reports: one firmwareCheck, and the same octets."""
    first, again = await replay(coap, boot(blocks=0) * 2)

    assert first == again
    assert coap.fleet.names.count("firmwareCheck") == coap.fleet.names.count("messageDuplicate") == 1


async def test_a_device_that_reboots_gets_one_image_after_the_target_has_changed(coap: CoapBench) -> None:
    """No mixture: block 0 is of the new image, though the request is octet for octet the earlier one."""
    other = IMAGE[::-1]
    await replay(coap, boot(blocks=2))
    await give_target(coap.fleet, coap.device, other, "1.2")
    _, *replies = await replay(coap, boot(blocks=5))

    assert b"".join(each.payload for each in replies) == other
    assert {each.code for each in replies} == {Code.CONTENT}
    assert len({option_of(each, Option.ETAG) for each in replies}) == 1


async def test_a_report_right_after_a_reboot_is_answered_for_the_new_target(coap: CoapBench) -> None:
    """What waits for the device is looked up, not remembered."""
    await replay(coap, boot(blocks=1))
    await coap.fleet.collections.update(coap.device.collection, CollectionChange(target_firmware_id=0), cause=CAUSE)
    (again,) = await replay(coap, boot(blocks=0))

    assert not decode_response(again.payload).available


async def test_a_download_is_not_limited_like_messages(tmp_path: Path) -> None:
    """Its blocks are more than a device may send messages at once."""
    async with firmware_bench(tmp_path, messages={"rate": 1.0, "burst": 20}) as coap:
        octets, _ = await download(coap, 0)

    assert octets == IMAGE


async def test_a_download_goes_on_at_another_address(coap: CoapBench) -> None:
    """The NAT forgot the device; its identity is what counts."""
    first = await coap.client.exchange(fetch(0))
    coap.client = coap.client_at("127.0.0.1")
    rest, _ = await download(coap, 2, first=1)

    assert first.payload + rest == IMAGE


async def test_each_device_gets_its_own_image(coap: CoapBench) -> None:
    """The path is the same for all."""
    other = await coap.fleet.device("127.0.0.2")
    await give_target(coap.fleet, other, b"another image")
    mine = await coap.client.exchange(fetch(0))
    theirs = await coap.client_at("127.0.0.2").exchange(fetch(0))

    assert (mine.payload, theirs.payload) == (IMAGE[:64], b"another image")
    assert option_of(mine, Option.ETAG) != option_of(theirs, Option.ETAG)


async def test_a_device_without_firmware_hears_4_04(coap: CoapBench) -> None:
    """F32, in words; and the event with the same."""
    await coap.fleet.collections.update(coap.device.collection, CollectionChange(target_firmware_id=0), cause=CAUSE)
    coap.fleet.activities.clear()
    reply = await coap.client.exchange(fetch(0))
    (connected, (name, data)) = coap.fleet.told

    assert (reply.code, reply.payload) == (Code.NOT_FOUND, b"no target image is set")
    assert connected[0] == "clientConnected"
    assert (name, data["reason"], data["detail"]) == ("messageRejected", "noFirmware", "no target image is set")
    assert len({each.correlation_id for each in coap.fleet.events}) == 1


async def test_a_target_that_changes_in_the_middle_is_4_08(coap: CoapBench) -> None:
    """Never a mixture: the device begins again with block 0."""
    await coap.client.exchange(fetch(0))
    await give_target(coap.fleet, coap.device, IMAGE[::-1], "1.2")
    refused = await coap.client.exchange(fetch(1, message_id=2))
    octets, _ = await download(coap, 2)

    assert refused.code == Code.REQUEST_ENTITY_INCOMPLETE
    assert octets == IMAGE[::-1]


async def test_an_image_that_cannot_be_read_is_5_03(coap: CoapBench) -> None:
    """The device may try again."""
    coap.fleet.image_files.path(coap.device.firmware.target_firmware_id or _target(coap).id).unlink()
    reply = await coap.client.exchange(fetch(0))

    assert reply.code == Code.SERVICE_UNAVAILABLE
    assert coap.fleet.told[-1][1]["reason"] == "storageFailed"


@pytest.mark.parametrize(("number", "exponent"), [(0, 7), (5, 7), (79, 2), (1_048_575, 6)])
async def test_a_block_that_cannot_be_is_4_00(coap: CoapBench, number: int, exponent: int) -> None:
    """Size exponent 7, or after the end."""
    reply = await coap.client.exchange(fetch(number, exponent))

    assert reply.code == Code.BAD_REQUEST
    assert coap.fleet.told[-1][1]["reason"] == "malformed"


async def test_an_unknown_critical_option_is_refused_in_a_later_block_too(coap: CoapBench) -> None:
    """F25 where nothing is remembered."""
    request = fetch(1, options=((65_001, b"x"),))
    replies = [await coap.client.exchange(request) for _ in range(2)]

    assert [each.code for each in replies] == [Code.BAD_OPTION] * 2


def _target(coap: CoapBench) -> Image:
    image = coap.fleet.directory.images.get(coap.device.collection.firmware.target_firmware_id)
    assert image is not None
    return image


# ---- libcoap -----------------------------------------------------------------------------------


async def run(uri: str, *arguments: str | Path) -> str:
    """Run libcoap's client and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        CLIENT,
        *("-B", "20", *map(str, arguments), uri),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(4 * PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


async def update(fleet: FleetBench, device: Device, uri: str, folder: Path, *arguments: str | Path) -> Response:
    """Report, download, report again as libcoap's client does it; return the first response."""
    old, new, place, image = (folder / name for name in ("old", "new", "place", "image"))
    old.write_bytes(REPORT)
    new.write_bytes(encode_report(Report("1.1")))
    await run(f"{uri}/u", *arguments, "-m", "post", "-f", old, "-o", place)
    await run(f"{uri}/fw", *arguments, "-m", "get", "-o", image)
    await run(f"{uri}/u", *arguments, "-m", "post", "-f", new, "-o", folder / "reply")
    await until(lambda: device.firmware.state == "Current")
    names = [each for each in fleet.names if each.startswith("firmware")]

    assert image.read_bytes() == IMAGE
    assert names[:4] == ["firmwareCheck", "firmwareUpdateRequired", "firmwareRequested", "firmwareStateChange"]
    assert names[-3:] == ["firmwareCheck", "firmwareCurrent", "firmwareStateChange"]
    return decode_response(place.read_bytes())


@pytest.mark.parametrize("option", [[], ["-N"], ["-b", "64"], ["-b", "1024"], ["-T", "token"]])
async def test_libcoap_updates_a_device(coap: CoapBench, tmp_path: Path, option: list[str]) -> None:
    """Report, image, report: over CoAP."""
    place = await update(coap.fleet, coap.device, f"coap://127.0.0.1:{coap.server[1]}", tmp_path, *option)

    assert place == Response("127.0.0.1", coap.server[1], "/fw", available=True)


async def test_libcoap_updates_a_device_over_dtls(tmp_path: Path) -> None:
    """The same with a certificate; a session for each of the three."""
    async with dtls_bench(tmp_path, services=firmware_services()) as bench:
        await give_target(bench.fleet, bench.device)
        certificate, key = tmp_path / "cert.crt", tmp_path / "key.pem"
        chain = (bench.holder.certificate, *bench.holder.chain)
        certificate.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        key.write_bytes(bench.holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        port = address_of(bench.coaps)[1]
        identity = ("-c", certificate, "-j", key, "-n")
        place = await update(bench.fleet, bench.device, f"coaps://127.0.0.1:{port}", tmp_path, *identity)

        assert place == Response("127.0.0.1", port, "/fw", available=True)
        assert bench.fleet.names.count("clientConnected") == 3


async def test_libcoap_resumes_a_download_in_the_middle(coap: CoapBench, tmp_path: Path) -> None:
    """F30 with a real client: TimedOut with block and percent, and on from the next block (it takes one at a time)."""
    file, rest = tmp_path / "block", b""
    for number in range(6):
        await coap.client.exchange(fetch(number, 5, message_id=number))
    coap.fleet.clock.shift(121)
    coap.fleet.firmware.sweep()
    name, stopped = coap.fleet.told[-1]
    for number in range(6, 10):
        await run(f"coap://127.0.0.1:{coap.server[1]}/fw", "-b", f"{number},512", "-m", "get", "-o", file)
        rest += file.read_bytes()

    assert (name, stopped["state"], stopped["block"], stopped["percent"]) == (
        *("firmwareStateChange", "TimedOut"),
        *("5", "61"),
    )
    assert rest == IMAGE[6 * 512 :]
    assert coap.device.firmware.state == "Updating"


async def test_libcoap_downloads_a_large_image_through_loss(tmp_path: Path) -> None:
    """One of its datagrams; it sends it again, and the image is identical."""
    octets = random.Random(6).randbytes(20_000)
    async with firmware_bench(tmp_path, octets=octets) as coap:
        file = tmp_path / "image"
        await run(f"coap://127.0.0.1:{coap.server[1]}/fw", "-b", "1024", "-l", "5", "-m", "get", "-o", file)

    assert file.read_bytes() == octets
