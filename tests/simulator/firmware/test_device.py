"""Devices that update themselves, against a real server; and what they make of one that does wrong."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from span_events.dialects.span import data_of
from span_events.events.activity import Activity
from span_events.fleet.collections import CollectionChange
from span_events.registry.model import Collection, Device, Management
from span_events.simulator.coap import Timing
from span_events.simulator.firmware.device import Ended, Mishap, Outcome, UpdatingDevice, make_image, version_of
from span_events.simulator.sockets import Address
from span_events.wire.coap.blocks import Block, block_of, write_block
from span_events.wire.coap.messages import CoapMessage, Code, Option, Options, Type, decode, encode
from span_events.wire.fota import Response, encode_response
from tests.bench.servers import CAUSE, Running, running
from tests.simulator.responder import Responder

ADDRESS = "127.77.0.1"
IMAGE = make_image("1.1.0", 5_001)
BLOCKS = 10
"""Of 512 octets; the last one is shorter."""


@dataclass
class Site:
    """A server whose collection should run 1.1.0, and what it tells of its device."""

    server: Running
    collection: Collection
    device: Device
    published: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    @property
    def target(self) -> Address:
        """Where CoAP is served."""
        host, _, port = self.server.server.addresses["coap"].rpartition(":")
        return host, int(port)

    @property
    def names(self) -> list[str]:
        """The names of the events about firmware so far."""
        return [name for name, _ in self.published if name.startswith("firmware")]

    @property
    def states(self) -> list[str]:
        """The states that the device went through."""
        found = [data["state"] for name, data in self.published if name == "firmwareStateChange"]
        return [state for before, state in zip(["", *found], found, strict=False) if state != before]

    async def set_target(self, octets: bytes, version: str) -> None:
        """Have the collection run another image."""
        images = self.server.server.fleet.images
        async with images.upload(self.collection) as upload:
            await upload.write(octets)
            image = await images.create(self.collection, upload, version=version, cause=CAUSE)
        change = CollectionChange(management=Management.COLLECTION, target_firmware_id=image.id)
        await self.server.server.fleet.collections.update(self.collection, change, cause=CAUSE)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """The server with an image for its device."""
    async with running(tmp_path) as server:
        collection = await server.collection()
        site = Site(server, collection, await server.device(collection, ADDRESS))

        def note(activity: Activity) -> None:
            event = activity.event
            site.published.append((event.name, dict(data_of(event))))

        await site.set_target(IMAGE, "1.1.0")
        server.server.bus.listen(activities=note)
        yield site


async def test_a_device_updates_itself(site: Site) -> None:
    """Report, download, report; and then there is nothing more to do."""
    with UpdatingDevice(ADDRESS, site.target) as device:
        ended = await device.update()
        again = await device.update()

    assert ended == Ended(Outcome.UPDATED, "downloaded 5001 octets (1.1.0), reported 1.1.0")
    assert again == Ended(Outcome.CURRENT, "no update waits for 1.1.0")
    assert device.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert site.states == ["Downloading", "Updating", "Current"]
    assert site.names[:4] == ["firmwareCheck", "firmwareUpdateRequired", "firmwareRequested", "firmwareStateChange"]


@pytest.mark.parametrize("exponent", [0, 6])
async def test_a_device_chooses_the_size_of_its_blocks(site: Site, exponent: int) -> None:
    with UpdatingDevice(ADDRESS, site.target, exponent=exponent) as device:
        ended = await device.update()

    assert ended.outcome is Outcome.UPDATED
    assert site.server.server.fleet.firmware.downloads.blocks == -(-len(IMAGE) // (16 << exponent))


async def test_a_stalled_download_resumes(site: Site) -> None:
    """60 % of 5001 octets are reached with block 5; no block is asked for twice."""
    with UpdatingDevice(ADDRESS, site.target) as device:
        stalled = await device.update(Mishap.STALL)
        version, states = device.version, site.states
        ended = await device.update()

    assert stalled == Ended(Outcome.STALLED, "3072 of 5001 octets are there")
    assert (version, states) == ("1.0.0", ["Downloading"])
    assert ended.outcome is Outcome.UPDATED
    assert device.sha256 == hashlib.sha256(IMAGE).hexdigest()
    assert site.server.server.fleet.firmware.downloads.blocks == BLOCKS


async def test_a_stalled_download_restarts_with_another_image(site: Site) -> None:
    """The server refuses the rest of the old one; a device never runs a mixture."""
    other = make_image("1.2.0", 2_000)
    with UpdatingDevice(ADDRESS, site.target) as device:
        await device.update(Mishap.STALL)
        await site.set_target(other, "1.2.0")
        ended = await device.update()

    assert (ended.outcome, device.version) == (Outcome.UPDATED, "1.2.0")
    assert device.sha256 == hashlib.sha256(other).hexdigest()


async def test_the_server_publishes_a_reverted_device(site: Site) -> None:
    """UpdateFailed, and the update is held back."""
    with UpdatingDevice(ADDRESS, site.target) as device:
        reverted = await device.update(Mishap.REVERT)
        again = await device.update()

    assert reverted == Ended(Outcome.REVERTED, "downloaded 5001 octets (1.1.0), reported 1.0.0")
    assert again.outcome is Outcome.CURRENT
    assert site.states == ["Downloading", "Updating", "UpdateFailed"]


async def test_a_device_cannot_run_what_is_no_firmware_for_it(site: Site) -> None:
    """It keeps the version that it has, as one with a boot loader does."""
    await site.set_target(b"for another model", "2.0.0")
    with UpdatingDevice(ADDRESS, site.target) as device:
        ended = await device.update()

    assert ended == Ended(Outcome.REVERTED, "downloaded 17 octets (nothing that it can run), reported 1.0.0")
    assert site.states[-1] == "UpdateFailed"


async def test_a_truncated_report_is_refused_with_the_reason(site: Site) -> None:
    with UpdatingDevice(ADDRESS, site.target) as device:
        ended = await device.update(Mishap.TRUNCATED_REPORT)

    assert ended == Ended(Outcome.FAILED, "4.00 to the report: field 2 says 9 octets, 6 are left")
    assert [data["reason"] for name, data in site.published if name == "messageRejected"] == ["malformed"]


async def test_a_device_without_an_image_has_nothing_to_do(site: Site) -> None:
    change = CollectionChange(management=Management.DISABLED)
    await site.server.server.fleet.collections.update(site.collection, change, cause=CAUSE)
    with UpdatingDevice(ADDRESS, site.target) as device:
        ended = await device.update()

    assert ended == Ended(Outcome.CURRENT, "no update waits for 1.0.0")


async def test_a_server_that_never_answers_ends_the_update() -> None:
    with Responder() as server, UpdatingDevice(ADDRESS, server.address, timing=Timing(0.001, 1.0, 1)) as device:
        ended = await device.update()

    assert ended == Ended(Outcome.FAILED, "no reply to the report")


@asynccontextmanager
async def server_that_gives(
    block: Callable[[CoapMessage], tuple[int, bytes, Options]],
) -> AsyncIterator[UpdatingDevice]:
    """Answer reports with the place of an update, and requests for blocks as told."""

    def answer(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram)
        if request.code == Code.POST:
            here = Response("127.0.0.1", server.address[1], "/fw", available=True)
            said: Any = (Code.CHANGED, encode_response(here), ())
        else:
            said = block(request)
        code, payload, options = said
        yield encode(CoapMessage(Type.ACK, code, request.message_id, request.token, options, payload))

    with Responder(answer) as server, UpdatingDevice(ADDRESS, server.address) as device:
        yield device


def content(number: int, *, more: bool, exponent: int = 5, etag: bytes = b"\x01") -> tuple[int, bytes, Options]:
    """A block of zeros."""
    block = write_block(Block(number, more=more, exponent=exponent))
    return Code.CONTENT, bytes(16 << exponent), ((Option.ETAG, etag), (Option.BLOCK2, block))


async def test_the_server_may_make_blocks_smaller() -> None:
    """The device counts in the server's size from then on (RFC 7959 §2.4)."""
    asked: list[Block | None] = []

    def smaller(request: CoapMessage) -> tuple[int, bytes, Options]:
        asked.append(block_of(request, Option.BLOCK2))
        return content(len(asked) - 1, more=len(asked) < 3, exponent=2)

    async with server_that_gives(smaller) as device:
        await device.update()

    assert asked == [Block(0, more=False, exponent=5), *(Block(each, more=False, exponent=2) for each in (1, 2))]
    assert device.fetched == 192


@pytest.mark.parametrize(
    ("answers", "detail"),
    [
        ([content(1, more=True)], "Block(number=1, more=True, exponent=5) came, wanted Block(number=0"),
        ([content(0, more=True, exponent=6)], "Block(number=0, more=True, exponent=6) came, wanted Block(number=0"),
        (
            [content(0, more=True), content(1, more=True, exponent=4)],
            "Block(number=1, more=True, exponent=4) came, wanted Block(number=1",
        ),
        ([(Code.CONTENT, b"short", ((Option.SIZE2, b"\x06"),))], "5 octets came, 6 were announced"),
        ([(Code.NOT_FOUND, b"no target image is set", ())], "4.04 to block 0: no target image is set"),
        (
            [content(number, more=True, etag=random.randbytes(4)) for number in (0, 1, 0, 1)],
            "the image changes faster than it comes",
        ),
    ],
)
async def test_a_faulty_response_ends_the_download_with_the_reason(answers: list[Any], detail: str) -> None:
    left = iter(answers)
    async with server_that_gives(lambda _: next(left)) as device:
        ended = await device.update()

    assert ended.outcome is Outcome.FAILED
    assert ended.detail.startswith(detail)


@pytest.mark.parametrize(
    ("payload", "detail"),
    [
        (b"", "the response to the report cannot be read: field 1 is missing"),
        (encode_response(Response("", 5683, "/fw", available=True)), "cannot find : "),
        (encode_response(Response("203.0.113.1", 5683, "/fw", available=True)), "cannot reach 203.0.113.1:5683: "),
    ],
)
async def test_an_unusable_answer_to_a_report_ends_with_the_reason(payload: bytes, detail: str) -> None:
    def answer(datagram: bytes) -> Iterable[bytes]:
        request = decode(datagram)
        yield encode(CoapMessage(Type.ACK, Code.CHANGED, request.message_id, request.token, (), payload))

    with Responder(answer) as server, UpdatingDevice(ADDRESS, server.address) as device:
        ended = await device.update()

    assert ended.outcome is Outcome.FAILED
    assert ended.detail.startswith(detail)


@pytest.mark.parametrize("size", [0, 30, 100_000])
def test_an_image_has_its_version_in_its_first_line(size: int) -> None:
    image = make_image("1.1.0-rc1+ä", size)

    assert version_of(image[:300]) == "1.1.0-rc1+ä"
    assert len(image) == max(size, len(image.partition(b"\n")[0]) + 1)
    assert make_image("1.1.0-rc1+ä", 100) != make_image("1.1.0-rc1+ä", 100)


@pytest.mark.parametrize("image", [b"", b"simulated firmware 1.1.0", b"\x7fELF\n", b"firmware 1.1.0\n"])
def test_other_octets_are_no_firmware(image: bytes) -> None:
    assert version_of(image) == ""
